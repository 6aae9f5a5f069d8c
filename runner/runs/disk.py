"""A run's folder on a disk that this machine reaches."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runner.errors import RecordsError, UsageError

PLAN, RECORDS, CANCEL = "plan.json", "records.jsonl", "cancel"


def gone(folder: object) -> RecordsError:
    """The error that a run's folder is not where it was."""
    return RecordsError(
        f"the run's folder {folder} is gone: it was moved or removed",
        hint="a run can't go on without it, so its workers are ended where it was still going",
    )


class Disk:
    """Reads and writes a run's folder: records are appended, other files written and renamed."""

    # How long to wait between looks at what somebody else writes.
    look_s = 0.1
    may_append = True  # a line at a time, whoever else does

    def __init__(self, path: Path) -> None:
        self.path = path
        self._claim: int | None = None

    def create(self, plan: bytes) -> None:
        """Make the folder, with the plan in it. Raises UsageError if that can't be done."""
        try:
            self.path.mkdir(parents=True)
            (self.path / RECORDS).touch()
            self.write(PLAN, plan)
        except OSError as error:
            raise UsageError(
                f"the run folder {self.path} can't be made: {error.strerror}",
                hint="choose another place with --storage or RUNNER_STORAGE",
            ) from None

    def take(self) -> None:
        """Claim the folder for a run that goes on. Raises UsageError if somebody else has it."""
        with self._writing(RECORDS):
            claim = os.open(self.path / RECORDS, os.O_RDWR)
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(claim)
            raise UsageError(f"{self.path.name} is being resumed already") from None
        self._claim = claim
        with self._writing(RECORDS):
            whole = self.read(RECORDS) or b""
            # What a driver that was killed left of a line would become part of the next.
            os.truncate(self.path / RECORDS, whole.rfind(b"\n") + 1)
            (self.path / CANCEL).unlink(missing_ok=True)

    def release(self) -> None:
        """Others may have what ``take`` took."""
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole: to a temporary name, then renamed."""
        target = self.path / name
        temporary = self.path / f".{name}.{os.getpid()}"
        with self._writing(name):
            temporary.write_bytes(data)
            temporary.replace(target)

    def append(self, line: bytes, *, at_once: bool) -> None:
        """Add a line to the records, as one write, which is always at once.

        Raises RecordsError if that can't be done, or if the folder is gone: it is never made anew.
        """
        with self._writing(RECORDS):
            file = os.open(self.path / RECORDS, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(file, line)
            finally:
                os.close(file)

    def flush(self, limit_s: float) -> None:
        """Nothing is held back."""

    def read(self, name: str, start: int = 0) -> bytes | None:
        """A file's bytes from ``start`` on; None if there is none. Raises RecordsError."""
        try:
            with (self.path / name).open("rb") as file:
                file.seek(start)
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RecordsError(f"{self.path / name} can't be read: {error.strerror}") from None

    def names(self, folder: str) -> list[str]:
        """What lies in a folder of the run's; nothing if there is none."""
        try:
            return sorted(path.name for path in (self.path / folder).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def is_there(self) -> bool:
        """Whether the folder is still where it was laid out."""
        return (self.path / PLAN).exists()

    def made_at_s(self) -> float:
        """When the run was laid out, or laid out anew."""
        return (self.path / PLAN).stat().st_mtime

    def request_cancel(self) -> None:
        """Leave the wish that the run be cancelled."""
        with self._writing(CANCEL):
            (self.path / CANCEL).touch()

    def cancel_requested(self) -> bool:
        """Whether somebody left it."""
        return (self.path / CANCEL).exists()

    def end_of_log(self, name: str, most: int, *, may_come: bool) -> bytes:
        """The last bytes of a log whose worker has ended; none if it did not come to have one.

        All of it is here at once, whatever ``may_come`` says.
        """
        try:
            with (self.path / name).open("rb") as file:
                file.seek(max(0, (self.path / name).stat().st_size - most))
                return file.read()
        except FileNotFoundError:
            return b""

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        """Raises RecordsError where the block can't write the file (no room, no right to)."""
        try:
            yield
        except FileNotFoundError:
            raise gone(self.path) from None
        except OSError as error:
            raise RecordsError(f"{self.path / name} can't be written: {error.strerror}") from None
