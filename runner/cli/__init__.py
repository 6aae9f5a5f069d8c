"""The command line: parse, call, print. Only here is anything printed, and the process ended."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

from runner.errors import Exit, RunnerError

# Name: what --help says of it. Its module, runner.cli.<name>, is imported only when it is called.
COMMANDS = {
    "init": "Print a commented starter spec of a kind.",
    "validate": "Check specs: every fault with its place.",
    "plan": "Show where each task would run, and why.",
    "submit": "Carry out a spec and report.",
    "list": "List the runs in storage.",
    "status": "Show how a run stands.",
    "logs": "Print the logs of a run's tasks.",
    "cancel": "Ask a run to end early.",
    "resume": "Go on with a run that was cancelled, lost or failed.",
    "report": "Show a run's report, or open it.",
    "kinds": "Show the kinds of task and their parameters.",
    "schema": "Print the JSON Schema of specs, for editors.",
    "nodes": "Show what the cluster, or this machine, offers.",
    "platforms": "Rank edge platforms for a need or a model.",
    "up": "Start a local cluster that stays warm.",
    "down": "End the local cluster that 'up' started.",
}


class Commands(click.Group):
    """The group of commands, each imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of a first use."""
        return [*COMMANDS]  # 'list' is a module of this package once that command is called

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, its module imported."""
        if cmd_name not in COMMANDS:
            return None
        module: Any = import_module(f"runner.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in --help, from the table, so that no module is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As Click does; a name that is none is answered with the nearest that is."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from runner.spec.suggest import did_you_mean

            hint = did_you_mean(args[0], COMMANDS)
            ctx.fail(f"No such command '{args[0]}'{hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="runner", message="runner %(version)s")
def cli() -> None:
    """One YAML file says what should happen to a model; runner puts each task on the silicon that
    fits, through Ray, and comes back with a report.

    \b
    runner init distill > job.yaml
    runner submit job.yaml
    """


def main() -> None:
    """Run the command line and end the process with the exit code that errors.py documents."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """The exit code of the command with these arguments."""
    from runner.cli.output import of_printing, silence, telling

    try:
        outcome = cli.main(args=arguments, prog_name="runner", standalone_mode=False)
        return int(outcome or Exit.FINISHED)
    except RunnerError as error:
        return _tell(error)
    except click.ClickException as error:
        with telling():
            error.show()
        return int(Exit.USAGE)
    except (KeyboardInterrupt, click.Abort):
        with telling():
            click.echo("interrupted", err=True)
        return int(Exit.INTERRUPTED)
    except Exception as error:
        if isinstance(error, OSError) and of_printing(error):
            silence(sys.stdout)
            return _tell(RunnerError(f"the output can't be written: {error.strerror}"))
        import traceback

        from runner.cli.errors import BUG

        with telling():
            traceback.print_exc()
            click.echo(BUG, err=True)
        return int(Exit.BUG)


def _tell(error: RunnerError) -> int:
    from runner.cli.errors import show

    show(error)
    return int(error.exit_code)
