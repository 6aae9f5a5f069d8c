"""Ctrl-C: once ends a run cleanly, twice at once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event
from typing import TYPE_CHECKING, NoReturn

from runner.errors import Exit
from runner.model import Record

if TYPE_CHECKING:
    from runner.cli.live import Live
    from runner.runs.folder import RunFolder

# How long storage far away may take to hear of it.
AT_ONCE_S = 5.0


class Interrupts:
    """What SIGINT and SIGTERM do to a run: the first sets ``cancelled``, the second ends it all."""

    def __init__(self, cancelled: Event) -> None:
        self.cancelled = cancelled
        self.came = False
        self._run: tuple[RunFolder, Live] | None = None

    def of(self, folder: RunFolder, live: Live) -> None:
        """It is this run that they mean from now on."""
        self._run = folder, live

    def handle(self, number: int, frame: object) -> None:
        """Answer a signal."""
        self.came = True
        if self.cancelled.is_set():
            self._end_at_once()
        self.cancelled.set()
        if self._run is not None:
            self._run[1].say("cancelling: ending the workers (once more to end at once)")

    def _end_at_once(self) -> NoReturn:
        """Mark the run and end the process; another one ends what its cluster leaves."""
        try:
            if self._run is not None:
                from runner.runs.finding import ended_as

                folder, _ = self._run
                folder.request_cancel()  # where another process drives the run
                if folder.may_append and ended_as(folder.records()) is None:
                    data = {"status": "cancelled"}
                    folder.append(Record(at_s=time.time(), event="run_ended", data=data))
                    folder.flush(AT_ONCE_S)
        finally:
            os._exit(Exit.INTERRUPTED)


@contextmanager
def ending_cleanly(cancelled: Event) -> Iterator[Interrupts]:
    """Have SIGINT and SIGTERM end the block's run, once there is one, and so the block."""
    interrupts = Interrupts(cancelled)
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, interrupts.handle) for number in numbers}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_now(code: int) -> NoReturn:
    """End the process after an interrupt, its output written.

    Ray may still be starting in a thread, for which Python's own way out would wait, or crash.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)
