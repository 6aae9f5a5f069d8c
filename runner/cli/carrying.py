"""What submit and resume share: have a request carried out, watched, and told of at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from shutil import get_terminal_size
from threading import Event
from typing import TYPE_CHECKING

import click

from runner.cli.errors import colour
from runner.cli.interrupt import end_now, ending_cleanly
from runner.cli.output import silence
from runner.errors import Exit
from runner.storage import Place, Remote

if TYPE_CHECKING:
    from runner.cluster.address import Address
    from runner.model import Record
    from runner.report.summary import Report
    from runner.runs.folder import RunFolder
    from runner.runs.request import Request

EXITS = {"finished": Exit.FINISHED, "cancelled": Exit.INTERRUPTED}


def carry_out(
    request: Request,
    where_to: Address | None,
    *,
    as_json: bool,
    shown: Callable[[Report, str], str] | None = None,
    earlier: Sequence[Record] = (),
) -> int:
    """The exit code of the run that is asked for, after its report has been shown.

    ``earlier`` are the records of a run that is resumed. ``shown`` makes the text that is printed,
    where it is not the report's own: of the report, and of where its page lies.
    """
    from runner.cli.live import Live
    from runner.report.summary import to_json
    from runner.report.terminal import to_terminal
    from runner.runs.reporting import report_of
    from runner.runs.submission import drive

    cancelled = Event()
    with ExitStack() as stack:
        interrupts = stack.enter_context(ending_cleanly(cancelled))

        def begin(folder: RunFolder) -> Callable[[Record], None]:
            live = stack.enter_context(Live(folder.run, folder.plan(), sys.stderr, earlier))
            interrupts.of(folder, live)
            return live.observe

        folder, status = drive(request, where_to, begin=begin, cancelled=cancelled)
    report = report_of(folder)
    if as_json:
        text = to_json(report)
    elif shown is not None:
        text = shown(report, from_here(folder.path / "report.html"))
    else:
        text = to_terminal(
            report,
            location=from_here(folder.path / "report.html"),
            colour=colour(sys.stdout),
            columns=get_terminal_size().columns,
        )
    try:
        click.echo(text, nl=False)
    except BrokenPipeError:
        silence(sys.stdout)  # whoever read our output has gone; the exit code is still the run's
    code = EXITS.get(status, Exit.FAILED)
    if interrupts.came:
        end_now(code)
    return code


def from_here(path: Place) -> str:
    """The path from here, where that is shorter; a URI as it is."""
    if isinstance(path, Remote):
        return str(path)
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
