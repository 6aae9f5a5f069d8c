"""runner submit FILE"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from threading import Event

import click

from runner.cli.errors import colour
from runner.cli.interrupt import ending_cleanly
from runner.cli.options import (
    address_option,
    file_argument,
    json_option,
    set_option,
    storage_option,
)
from runner.errors import Exit

EXITS = {"finished": Exit.FINISHED, "cancelled": Exit.INTERRUPTED}


@click.command()
@file_argument
@set_option
@address_option
@storage_option
@json_option
def command(
    file: Path, overrides: tuple[str, ...], address: str | None, storage: Path, as_json: bool
) -> int:
    """Carry out the spec in FILE and report.

    Each task starts as soon as what it depends on is finished. Ctrl-C once ends the run cleanly,
    twice at once. Exit code 0 means that every task finished.
    """
    submitted_at_s = time.time()
    from runner.cluster.address import resolve
    from runner.spec.read import read

    job = read(file, overrides=overrides, environment=os.environ)
    where_to = resolve(address, os.environ)

    from runner.cli.live import Live
    from runner.report.summary import to_json
    from runner.report.terminal import to_terminal
    from runner.runs.reporting import report_of
    from runner.runs.submission import carry_out, open_run, target

    cancelled = Event()
    with target(where_to) as where:
        folder = open_run(job, where, storage, os.environ)
        plan = folder.plan()
        with Live(folder.run, plan, sys.stderr) as live, ending_cleanly(folder, cancelled, live):
            status = carry_out(
                folder,
                plan,
                where,
                submitted_at_s=submitted_at_s,
                environment=os.environ,
                observe=live.observe,
                cancelled=cancelled,
            )
    report = report_of(folder)
    if as_json:
        click.echo(to_json(report), nl=False)
    else:
        text = to_terminal(
            report, location=_shown(folder.path / "report.html"), colour=colour(sys.stdout)
        )
        click.echo(text, nl=False)
    return EXITS.get(status, Exit.FAILED)


def _shown(path: Path) -> str:
    """The path from here, where that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
