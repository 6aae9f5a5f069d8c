"""A run's folder: its plan, its records, a wish to cancel, its reports. It is the whole protocol
between the driver and whoever watches.

    <storage>/<run id>/
        plan.json          what is carried out, written first
        records.jsonl      what happened, a line at a time
        cancel             present once somebody wants the run cancelled
        report.json .md .html
        driver-1.json ...  who drives it, where the folder is at a URI (see mirror.py)
        <task>/<attempt>/  log.txt, artifacts, and the user's code as it ran
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import RecordsError
from runner.model import Plan, Record
from runner.plan.saved import from_json, to_json
from runner.runs.disk import CANCEL, PLAN, RECORDS, Disk, gone
from runner.storage import Place
from runner.worker.wire import record_from_json, record_to_json

if TYPE_CHECKING:
    from runner.runs.mirror import Mirror

__all__ = ["CANCEL", "PLAN", "RECORDS", "RunFolder", "gone"]

# What watchers far away should not have to wait for.
_ENDS = {"attempt_ended", "task_ended", "run_ended"}


class RunFolder:
    """One run's folder, at ``path``: on a disk that this machine reaches, or at a URI."""

    def __init__(self, path: Place) -> None:
        self.path = path.absolute()
        self.run = self.path.name
        if isinstance(self.path, Path):
            self._files: Disk | Mirror = Disk(self.path)
        else:
            from runner.runs.mirror import Mirror

            self._files = Mirror(self.path)

    @classmethod
    def create(cls, storage: Place, run: str, plan: Plan) -> RunFolder:
        """A new folder with the plan in it. Raises UsageError if storage can't be written."""
        folder = cls(storage / run)
        folder._files.create(to_json(plan).encode())
        return folder

    def reopen(self, plan: Plan) -> None:
        """Ready for a run that goes on, by ``plan``, until ``release``.

        Raises RecordsError where it can't be written, and UsageError if somebody else has it.
        """
        self._files.take()
        self.write(PLAN, to_json(plan))

    def release(self) -> None:
        """All is written, and others may have what ``create`` or ``reopen`` took."""
        self._files.release()

    def write(self, name: str, text: str) -> None:
        """Write a file whole: who reads it sees the old one or the new one."""
        self._files.write(name, text.encode())

    def append(self, record: Record) -> None:
        """Add a record, as one write of one line.

        Raises RecordsError if that can't be done, or if the folder is gone: it is never made anew.
        """
        line = (record_to_json(record) + "\n").encode()
        self._files.append(line, at_once=record.event in _ENDS)

    @property
    def may_append(self) -> bool:
        """Whether this process may ``append``: at a URI only the run's driver."""
        return self._files.may_append

    def flush(self, limit_s: float) -> None:
        """Write out what records are held back, as far as there is time for it."""
        self._files.flush(limit_s)

    def is_there(self) -> bool:
        """Whether the folder is still where it was laid out."""
        return self._files.is_there()

    def made_at_s(self) -> float:
        """When it was laid out, or was made ready for a run that goes on: Unix time."""
        return self._files.made_at_s()

    @property
    def look_s(self) -> float:
        """How long to wait between looks at what somebody else writes here."""
        return self._files.look_s

    def plan(self) -> Plan:
        """The plan. Raises RecordsError if it is missing or unreadable."""
        return from_json(self.plan_text(), file=str(self.path / PLAN))

    def plan_text(self) -> bytes:
        """The plan's file as it is."""
        text = self._files.read(PLAN)
        if text is None:
            raise RecordsError(f"{self.path / PLAN} can't be read: No such file or directory")
        return text

    def records(self) -> list[Record]:
        """Every whole record so far; a torn last line is left out.

        Raises RecordsError for a line that is no record, with its number.
        """
        return list(self._parse(self._files.read(RECORDS) or b""))

    def _parse(self, data: bytes) -> Iterator[Record]:
        lines = data.split(b"\n")
        for number, line in enumerate(lines, start=1):
            if not line:
                continue
            try:
                yield record_from_json(line)
            except (ValueError, TypeError) as error:
                if number == len(lines):
                    return  # torn: the driver was killed while it wrote
                raise RecordsError(
                    f"{self.path / RECORDS}:{number} is no record: {error}",
                    hint="the file was changed by something else than runner",
                ) from None

    def recorded_bytes(self) -> int:
        """The length of its records."""
        return len(self._files.read(RECORDS) or b"")

    def read(self, name: str, start: int = 0) -> bytes | None:
        """A file of the run's, from ``start`` on; None if there is none."""
        return self._files.read(name, start)

    def attempts(self, task: str) -> list[int]:
        """The attempts at a task that have left anything, in order."""
        return sorted(int(name) for name in self._files.names(task) if name.isdecimal())

    def forget_scratch(self, attempt: str) -> None:
        """Remove what lies hidden in the folder of an attempt that is over: nobody needs it.

        What its processes had not finished, and what they asked one another by. At a URI there is
        none: each process has it on its own node.
        """
        if isinstance(self.path, Path):
            for each in (self.path / attempt).glob(".*/"):
                # A process that outlives who asked it for a moment may be removing the same.
                shutil.rmtree(each, ignore_errors=True)

    def end_of_log(self, name: str, most: int, *, may_come: bool) -> bytes:
        """At most so many bytes of the end of a worker's log, once that worker has ended.

        ``may_come`` is whether more of it may still arrive, which is then waited for.
        """
        return self._files.end_of_log(name, most, may_come=may_come)

    def request_cancel(self) -> None:
        """Ask the run's driver to cancel it; it looks a few times a second."""
        self._files.request_cancel()

    def cancel_requested(self) -> bool:
        """Whether somebody asked for that."""
        return self._files.cancel_requested()
