"""A run's folder in storage at a URI, where nothing can be appended, renamed or locked.

Whoever drives the run holds its records, and a thread writes them out whole: at once when an
attempt, a task or the run has ended, else every few seconds, for at most a twentieth of the time.
What others read may be that old, and so is what is left of a run whose driver was killed.

Who drives is settled by objects ``driver-1.json``, ``driver-2.json``, ...: each is made only if it
is not there, so one of several gets the next number, and whoever has a lower one has to stop. A
driver that is not known to be alive, on this machine or by records of the last minute, is followed.
On a file system that would write over such an object, the one whose object is there in the end goes
on, and the other has to stop as well: it sees so before it writes any more records.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import time
from contextlib import suppress
from threading import Condition, Thread
from typing import Any

from runner.cluster.address import process_started
from runner.errors import RecordsError, StorageError, UsageError
from runner.runs.disk import CANCEL, PLAN, RECORDS, gone
from runner.runs.finding import SILENCE_S
from runner.storage import OFTEN_S, Remote, pause_s
from runner.worker.courier import LAST_WORD

# How long a dead worker's log may take to arrive.
LOG_S = 10.0
_DRIVER = re.compile(r"driver-([1-9]\d*)\.json")


class Mirror:
    """Reads and writes a run's folder at a URI."""

    look_s = 1.0

    def __init__(self, path: Remote) -> None:
        self.path = path
        self._driving: _Driving | None = None

    @property
    def may_append(self) -> bool:
        """Whether this process drives the run."""
        return self._driving is not None

    def create(self, plan: bytes) -> None:
        """Lay out the folder, with the plan in it. Raises UsageError if that can't be done."""
        try:
            if self.path.names() or (claim := self._claim(1)) is None:
                raise UsageError(f"the run folder {self.path} can't be made: it exists already")
            self.write(PLAN, plan)
            self.write(RECORDS, b"")
        except StorageError as error:
            raise UsageError(
                f"the run folder {self.path} can't be made: {error.message}",
                hint=error.hint or "choose another place with --storage or RUNNER_STORAGE",
            ) from error
        self._driving = _Driving(self.path, 1, claim, b"")

    def take(self) -> None:
        """Claim the folder for a run that goes on. Raises UsageError if somebody else has it."""
        last = self._last_driver()
        is_free = not (last and _is_at_work(self._about(last)))
        claim = self._claim(last + 1) if is_free else None
        if claim is None:
            raise UsageError(f"{self.path.name} is being resumed already")
        (self.path / CANCEL).remove()
        whole = self.path / RECORDS
        self._driving = _Driving(self.path, last + 1, claim, whole.read() or b"")

    def release(self) -> None:
        """Write out what is left; others may have the folder. Raises StorageError if it can't."""
        if self._driving is not None:
            driving, self._driving = self._driving, None
            driving.end()
            (self.path / _driver(driving.number)).write(_me(is_over=True))

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole."""
        (self.path / name).write(data)

    def append(self, line: bytes, *, at_once: bool) -> None:
        """Add a line to the records, which are written soon, or ``at_once``.

        Raises RecordsError if they could not be for a minute, if the folder is gone or has another
        driver, or if this process doesn't drive the run: it would write over what the driver does.
        """
        if self._driving is None:
            raise RecordsError(f"only its driver writes the records of {self.path.name}")
        self._driving.append(line, at_once=at_once)

    def flush(self, limit_s: float) -> None:
        """Write out what is left, as far as there is time for it."""
        if self._driving is not None:
            self._driving.flush(limit_s)

    def read(self, name: str, start: int = 0) -> bytes | None:
        """A file's bytes from ``start`` on; None if there is none. Raises StorageError."""
        if self._driving is not None and name == RECORDS:
            return self._driving.records(start)
        return (self.path / name).read(start)

    def names(self, folder: str) -> list[str]:
        """What lies in a folder of the run's; nothing if there is none."""
        return (self.path / folder).names()

    def is_there(self) -> bool:
        """Whether the folder is still where it was laid out, and this driver's if it drives."""
        if self._driving is not None:
            return self._driving.is_well()
        return (self.path / PLAN).size() is not None

    def made_at_s(self) -> float:
        """When the run was laid out, or laid out anew."""
        last = self._last_driver()
        return float(self._about(last).get("at_s", 0.0)) if last else 0.0

    def request_cancel(self) -> None:
        """Leave the wish that the run be cancelled."""
        (self.path / CANCEL).write(b"")

    def cancel_requested(self) -> bool:
        """Whether somebody left it, as of a few seconds ago. Raises as ``append`` does."""
        if self._driving is not None:
            return self._driving.is_cancelled()
        return (self.path / CANCEL).size() is not None

    def end_of_log(self, name: str, most: int, *, may_come: bool) -> bytes:
        """The last bytes of a log whose worker has ended; none if it did not come to have one.

        Where all of it ``may_come`` still, it is waited for, which takes seconds. A log that can't
        be read in that time is as good as none: it only adds to what is known of the worker's end.
        """
        until = time.monotonic() + (LOG_S if may_come else 0.0)
        data = b""
        while True:
            with suppress(StorageError):
                size = (self.path / name).size() or 0
                data = (self.path / name).read(max(0, size - most)) or b""
            if LAST_WORD in data or time.monotonic() >= until:
                return data
            time.sleep(0.25)

    def _claim(self, number: int) -> bytes | None:
        """Try to become the driver of that number; what says so, or None if somebody else is."""
        claim, file = _me(is_over=False), self.path / _driver(number)
        file.create(claim)
        # Read back, as not every file system is exclusive, and a client that repeats a request
        # whose answer was lost finds its own file there.
        return claim if file.read() == claim else None

    def _last_driver(self) -> int:
        return _last_driver(self.path.names())

    def _about(self, number: int) -> dict[str, Any]:
        about: dict[str, Any] = json.loads((self.path / _driver(number)).read() or b"{}")
        return about


class _Driving:
    """What the run's driver does beside its work: writes records out, and looks who wants what."""

    def __init__(self, path: Remote, number: int, claim: bytes, records: bytes) -> None:
        self.path, self.number, self.claim = path, number, claim
        self._lock = Condition()
        # What a driver that was killed left of a line would become part of the next.
        self._records = bytearray(records[: records.rfind(b"\n") + 1])
        self._written = len(records)
        self._is_urgent = self._is_over = self._wants_end = False
        self._wrong: RecordsError | None = None
        self._failing_since_s: float | None = None
        self._thread = Thread(target=self._keep, daemon=True, name="records")
        self._thread.start()

    def records(self, start: int) -> bytes:
        with self._lock:
            return bytes(self._records[start:])

    def append(self, line: bytes, *, at_once: bool) -> None:
        with self._lock:
            if self._wrong is not None:
                raise self._wrong
            self._records += line
            if at_once:
                self._is_urgent = True
                self._lock.notify_all()

    def is_well(self) -> bool:
        with self._lock:
            return self._wrong is None

    def is_cancelled(self) -> bool:
        with self._lock:
            if self._wrong is not None:
                raise self._wrong
            return self._wants_end

    def flush(self, limit_s: float) -> None:
        with self._lock:
            self._is_urgent = True
            self._lock.notify_all()
            self._lock.wait_for(lambda: self._written == len(self._records), timeout=limit_s)

    def end(self) -> None:
        with self._lock:
            self._is_over = True
            self._lock.notify_all()
        self._thread.join()
        if self._wrong is not None:
            raise self._wrong

    def _keep(self) -> None:
        wait_s = OFTEN_S
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._is_urgent or self._is_over, timeout=wait_s)
                is_over, self._is_urgent = self._is_over, False
                whole = bytes(self._records) if len(self._records) != self._written else None
            began_s = time.monotonic()
            try:
                if self._look() and whole is not None:
                    (self.path / RECORDS).write(whole)
                    with self._lock:
                        self._written = len(whole)
                        self._lock.notify_all()
                self._failing_since_s = None
                wait_s = pause_s(time.monotonic() - began_s)
            except StorageError as error:
                since_s = self._failing_since_s = self._failing_since_s or began_s
                wait_s = OFTEN_S
                if is_over:
                    time.sleep(wait_s)
                if time.monotonic() - since_s > SILENCE_S:
                    self._wrong = error
            except Exception as bug:
                self._wrong = StorageError(f"{self.path} can't be kept up: {bug!r}")
                raise
            if self._wrong is not None or (is_over and self._failing_since_s is None):
                return

    def _look(self) -> bool:
        """Whether the run is still this driver's to write."""
        names = self.path.names()
        mine = self.path / _driver(self.number)
        claimed = mine.read() or self.claim
        with self._lock:
            self._wants_end = CANCEL in names
            if PLAN not in names:
                self._wrong = gone(self.path)
            elif (last := _last_driver(names)) > self.number:
                self._wrong = RecordsError(
                    f"another driver goes on with {self.path.name}: {self.path / _driver(last)}",
                    hint="this one was silent for a minute, and was taken for dead",
                )
            elif claimed != self.claim:
                self._wrong = RecordsError(
                    f"another driver goes on with {self.path.name}: {mine}",
                    hint="it began at the same time, on storage that could not tell the two apart",
                )
            return self._wrong is None


def _driver(number: int) -> str:
    return f"driver-{number}.json"


def _last_driver(names: list[str]) -> int:
    found = [_DRIVER.fullmatch(name) for name in names]
    return max((int(match[1]) for match in found if match), default=0)


def _me(*, is_over: bool) -> bytes:
    """What a driver says of itself."""
    pid = os.getpid()
    about = {"host": socket.gethostname(), "pid": pid, "started": process_started(pid)}
    # Those of two runs of one process, too, differ.
    about |= {"at_s": time.time(), "is_over": is_over, "token": secrets.token_hex(8)}
    return json.dumps(about).encode()


def _is_at_work(about: dict[str, Any]) -> bool:
    """Whether a driver may be about to write its first record."""
    if about.get("is_over"):
        return False
    if about.get("host") == socket.gethostname():
        return bool(process_started(int(about["pid"])) == about["started"])
    return time.time() - float(about.get("at_s", 0.0)) < SILENCE_S
