"""runner list"""

from __future__ import annotations

import json
from collections.abc import Mapping
from shutil import get_terminal_size

import click

from runner.cli.errors import show
from runner.cli.options import json_option, storage_option
from runner.errors import Exit, RecordsError
from runner.storage import Place

# Where neither a terminal nor COLUMNS says how wide a line may be: what reads a pipe gets it all.
NO_LIMIT = 10_000


@click.command()
@storage_option
@json_option
@click.option("-n", "count", default=20, show_default=True, type=click.IntRange(1), help="At most.")
def command(storage: Place, as_json: bool, count: int) -> Exit:
    """List the runs in storage, the newest first."""
    from runner.report.format import duration, moment
    from runner.report.summary import document
    from runner.runs.finding import all_runs, nothing_in
    from runner.runs.reporting import report_of

    rows: list[tuple[str, ...]] = []
    found: list[Mapping[str, object]] = []
    unreadable: list[RecordsError] = []
    for folder in all_runs(storage)[:count]:
        try:
            report = report_of(folder)
        except RecordsError as broken:  # the others are still worth a line
            unreadable.append(broken)
            continue
        full = document(report)
        found.append(
            {key: full[key] for key in ("run", "job", "status", "started", "ended", "duration_s")}
            | {"run": folder.run, "tasks": {task.name: task.status for task in report.tasks}}
        )
        done = sum(task.status == "finished" for task in report.tasks)
        rows.append(
            (
                folder.run,
                report.status,
                f"{done}/{len(report.tasks)} tasks",
                moment(report.started_s),
                duration(report.duration_s),
            )
        )
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        _print(rows)
        if not rows and not unreadable:
            click.echo(nothing_in(storage))
    for error in unreadable:
        show(error)
    return Exit.NO_RUN if unreadable else Exit.FINISHED


def _print(rows: list[tuple[str, ...]]) -> None:
    """The rows in columns, of which the last are left out where the terminal is too narrow."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    limit = get_terminal_size((NO_LIMIT, 1)).columns
    while len(widths) > 1 and sum(widths) + 2 * (len(widths) - 1) > limit:
        widths.pop()
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        click.echo("  ".join(cells).rstrip())
