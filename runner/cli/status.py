"""runner status [RUN]"""

from __future__ import annotations

import time

import click

from runner.cli.options import json_option, run_argument, storage_option
from runner.storage import Place


@click.command()
@run_argument
@storage_option
@json_option
def command(run: str, storage: Place, as_json: bool) -> None:
    """Show how RUN stands: its name, a unique beginning of it, or 'latest'."""
    from runner.cli.live import line
    from runner.report.fold import fold, observed
    from runner.report.summary import to_json
    from runner.runs.finding import driver_alive, find
    from runner.runs.reporting import report_of

    folder = find(run, storage)
    if as_json:
        click.echo(to_json(report_of(folder)), nl=False)
        return
    records = folder.records()
    names = [planned.task.name for planned in folder.plan().tasks]
    state = observed(fold(records, names), driver_alive=driver_alive(folder, records))
    click.echo(f"{folder.run}  {state.status}")
    width = max(len(name) for name in names)
    for task in state.tasks.values():
        click.echo(f"  {task.name:<{width}}  {line(task, time.time())}")
