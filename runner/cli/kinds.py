"""runner kinds [NAME]"""

from __future__ import annotations

import json

import click

from runner.cli.options import json_option
from runner.errors import UsageError


@click.command()
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """Show the kinds of task; with NAME, its parameters, their defaults and what they mean."""
    from runner.kinds import KINDS, find
    from runner.kinds.describe import parameters
    from runner.spec.shape import CommonSpec
    from runner.spec.suggest import did_you_mean

    if name is not None and name not in KINDS:
        raise UsageError(f"no kind is called '{name}'{did_you_mean(name, KINDS)}")
    kinds = [find(each) for each in ([name] if name else KINDS)]
    if as_json:
        data = [
            {
                "kind": kind.name,
                "summary": kind.summary,
                "devices": kind.devices,
                "outputs": kind.outputs,
                "parameters": [p.as_json() for p in parameters(kind.params)],
            }
            for kind in kinds
        ]
        click.echo(json.dumps(data, indent=2))
        return
    if name is None:
        width = max(len(kind.name) for kind in kinds)
        for kind in kinds:
            click.echo(f"{kind.name:<{width}}  {kind.summary}")
        click.echo("\n'runner kinds NAME' shows the parameters of one, 'runner init NAME' a spec.")
        return
    kind = kinds[0]
    click.echo(f"kind: {kind.name}\n{kind.summary}")
    click.echo(f"runs on {', '.join(kind.devices)}; outputs: {', '.join(kind.outputs) or 'none'}")
    for title, model in (("Parameters", kind.params), ("Common to every task", CommonSpec)):
        click.echo(f"\n{title}")
        rows = parameters(model)
        width = max(len(row.name) for row in rows)
        for row in rows:
            click.echo(
                click.wrap_text(
                    f"{row.description} [{row.type}; {row.default_text}]".strip(),
                    width=100,
                    initial_indent=f"  {row.name:<{width}}  ",
                    subsequent_indent=" " * (width + 4),
                )
            )
