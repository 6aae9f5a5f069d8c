"""Ctrl-C: once ends a run cleanly, twice at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING

from runner.errors import Exit
from runner.model import Record

if TYPE_CHECKING:
    from runner.cli.live import Live
    from runner.runs.folder import RunFolder


@contextmanager
def ending_cleanly(folder: RunFolder, cancelled: Event, live: Live) -> Iterator[None]:
    """SIGINT and SIGTERM set ``cancelled``; a second one marks the run and ends this process.

    What an embedded cluster leaves behind then is ended by the process that watches over it.
    """

    def handle(number: int, frame: object) -> None:
        if not cancelled.is_set():
            cancelled.set()
            live.say("cancelling: ending the workers (once more to end at once)")
            return
        folder.request_cancel()  # where another process drives the run
        folder.append(Record(at_s=time.time(), event="run_ended", data={"status": "cancelled"}))
        os._exit(Exit.INTERRUPTED)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
