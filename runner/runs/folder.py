"""A run's folder: its plan, its records, a wish to cancel, its reports. It is the whole protocol
between the driver and whoever watches.

    <storage>/<run id>/
        plan.json          what is carried out, written first
        records.jsonl      what happened, a line at a time
        cancel             present once somebody wants the run cancelled
        report.json .md .html
        <task>/<attempt>/  log.txt, artifacts, and the user's code as it ran
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runner.errors import RecordsError, UsageError
from runner.model import Plan, Record
from runner.plan.saved import from_json, to_json
from runner.worker.wire import record_from_json, record_to_json

PLAN, RECORDS, CANCEL = "plan.json", "records.jsonl", "cancel"


@contextmanager
def _writing(file: Path) -> Iterator[None]:
    """Raises RecordsError, naming ``file``, where the block can't write (no room, no right to)."""
    try:
        yield
    except FileNotFoundError:
        raise gone(file.parent) from None
    except OSError as error:
        raise RecordsError(f"{file} can't be written: {error.strerror}") from None


def gone(folder: Path) -> RecordsError:
    """The error that a run's folder is not where it was."""
    return RecordsError(
        f"the run's folder {folder} is gone: it was moved or removed",
        hint="a run can't go on without it, so its workers are ended where it was still going",
    )


class RunFolder:
    """One run's folder, at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.run = self.path.name
        self._claim: int | None = None

    @classmethod
    def create(cls, storage: Path, run: str, plan: Plan) -> RunFolder:
        """A new folder with the plan in it. Raises UsageError if storage can't be written."""
        folder = cls(storage / run)
        try:
            folder.path.mkdir(parents=True)
            (folder.path / RECORDS).touch()
            folder.write(PLAN, to_json(plan))
        except OSError as error:
            raise UsageError(
                f"the run folder {folder.path} can't be made: {error.strerror}",
                hint="choose another place with --storage or RUNNER_STORAGE",
            ) from None
        return folder

    def reopen(self, plan: Plan) -> None:
        """Ready for a run that goes on, by ``plan``, until ``release``.

        Raises RecordsError where it can't be written, and UsageError if somebody else has it.
        """
        with _writing(self.path / RECORDS):
            claim = os.open(self.path / RECORDS, os.O_RDWR)
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(claim)
            raise UsageError(f"{self.run} is being resumed already") from None
        self._claim = claim
        self.write(PLAN, to_json(plan))
        with _writing(self.path / RECORDS):
            whole = self._read(RECORDS)
            # What a driver that was killed left of a line would become part of the next.
            os.truncate(self.path / RECORDS, whole.rfind(b"\n") + 1)
            (self.path / CANCEL).unlink(missing_ok=True)

    def release(self) -> None:
        """Others may have what ``reopen`` took."""
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    def write(self, name: str, text: str) -> Path:
        """Write a file whole: to a temporary name, then renamed."""
        target = self.path / name
        temporary = self.path / f".{name}.{os.getpid()}"
        with _writing(target):
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(target)
        return target

    def append(self, record: Record) -> None:
        """Add a record, as one write of one line.

        Raises RecordsError if that can't be done, or if the folder is gone: it is never made anew.
        """
        line = (record_to_json(record) + "\n").encode()
        with _writing(self.path / RECORDS):
            file = os.open(self.path / RECORDS, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(file, line)
            finally:
                os.close(file)

    def is_there(self) -> bool:
        """Whether the folder is still where it was laid out."""
        return (self.path / PLAN).exists()

    def plan(self) -> Plan:
        """The plan. Raises RecordsError if it is missing or unreadable."""
        return from_json(self._read(PLAN), file=str(self.path / PLAN))

    def plan_text(self) -> bytes:
        """The plan's file as it is."""
        return self._read(PLAN)

    def records(self) -> list[Record]:
        """Every whole record so far; a torn last line is left out.

        Raises RecordsError for a line that is no record, with its number.
        """
        return list(self._parse(self._read(RECORDS))) if (self.path / RECORDS).exists() else []

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

    def _read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise RecordsError(f"{self.path / name} can't be read: {error.strerror}") from None

    def recorded_bytes(self) -> int:
        """The length of its records."""
        return (self.path / RECORDS).stat().st_size

    def request_cancel(self) -> None:
        """Ask the run's driver to cancel it; it looks a few times a second."""
        with _writing(self.path / CANCEL):
            (self.path / CANCEL).touch()

    def cancel_requested(self) -> bool:
        """Whether somebody asked for that."""
        return (self.path / CANCEL).exists()
