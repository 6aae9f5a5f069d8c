"""runner submit FILE"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import click

from runner.cli.errors import colour
from runner.cli.interrupt import ending_cleanly
from runner.cli.options import (
    address_option,
    cluster_option,
    file_argument,
    json_option,
    node_types,
    set_option,
    storage_option,
)
from runner.errors import Exit

if TYPE_CHECKING:
    from runner.model import Record
    from runner.runs.folder import RunFolder

EXITS = {"finished": Exit.FINISHED, "cancelled": Exit.INTERRUPTED}


@click.command()
@file_argument
@set_option
@address_option
@cluster_option
@storage_option
@json_option
def command(
    file: Path,
    overrides: tuple[str, ...],
    address: str | None,
    cluster: Path | None,
    storage: Path,
    as_json: bool,
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
    from runner.runs.request import Request, secrets_of
    from runner.runs.submission import drive

    cancelled = Event()
    request = Request(
        job=job,
        storage=str(storage.absolute()),
        submitted_at_s=submitted_at_s,
        node_types=node_types(cluster),
        secrets=secrets_of(job, os.environ),
    )
    with ExitStack() as stack:

        def begin(folder: RunFolder) -> Callable[[Record], None]:
            live = stack.enter_context(Live(folder.run, folder.plan(), sys.stderr))
            stack.enter_context(ending_cleanly(folder, cancelled, live))
            return live.observe

        folder, status = drive(request, where_to, begin=begin, cancelled=cancelled)
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
