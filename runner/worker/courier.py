"""Takes a rank's log, and the user's code that it runs, to storage at a URI:

    python -m runner.worker.courier

A process of its own, so that the last words of a worker that is killed or crashes arrive, too, and
nothing stays behind on the node. The worker holds its standard input open. One line says what to
take where; after another, everything is taken, and answered with a line; at the end, which also
comes when the worker dies, what is new is taken, and the worker's scratch folder removed.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from runner.errors import RunnerError, StorageError
from runner.model import Record
from runner.storage import OFTEN_S, Remote, pause_s

# Take what there is, as at any other time; or as the last of a worker that is about to end.
_NOW, _ALL = b"now\n", b"all\n"
# In the log of a worker that has died, when all of it has arrived.
LAST_WORD = b"the worker process has ended\n"


class Courier:
    """Has ``log`` and ``others`` of ``folder`` taken to ``to``, now and then and at the end.

    ``folder`` lies in ``scratch``, which is removed when this process has ended. ``environment`` is
    the courier's.
    """

    def __init__(
        self,
        folder: Path,
        to: Remote,
        *,
        log: str,
        others: list[str],
        scratch: Path,
        environment: Mapping[str, str],
    ) -> None:
        what = {"folder": str(folder), "to": str(to), "log": log, "others": others,
                "scratch": str(scratch)}  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "runner.worker.courier"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            env=dict(environment),
        )
        assert process.stdin is not None and process.stdout is not None
        self._to, self._asking, self._answers = to, process.stdin, process.stdout
        self._asking.write(json.dumps(what).encode() + b"\n")
        self._unanswered = 0
        self._ask(_NOW)  # soon tells if storage can't be written from here
        process.wait()  # its child goes on

    def after(self, record: Record) -> Record:
        """The record; or, where something can't be taken, the failed end of the attempt instead.

        The last record waits until all of the log, which must be written, has arrived.
        """
        is_last = record.event == "attempt_ended"
        if is_last:
            self._ask(_ALL)
        elif not self._unanswered or not select.select([self._answers], [], [], 0)[0]:
            return record
        while self._unanswered:
            error = self._answer()
            if error and (not is_last or record.data["status"] == "finished"):
                print(f"{error['type']}: {error['message']}", file=sys.stderr, flush=True)
                data = {"status": "failed", "error": {**error, "frames": []}}
                return replace(record, event="attempt_ended", data=data)
        return record

    def _ask(self, line: bytes) -> None:
        self._unanswered += 1
        with suppress(BrokenPipeError):  # there is no answer then
            self._asking.write(line)

    def _answer(self) -> dict[str, str]:
        self._unanswered -= 1
        line = self._answers.readline()
        if line:
            answer: dict[str, str] = json.loads(line)
            return answer
        return {
            "type": StorageError.__name__,
            "message": f"nothing more can be put to {self._to}: the process that does so has ended",
            "hint": "",
        }


class _Load:
    """What is to be taken, and how much of it has been."""

    def __init__(self, what: Mapping[str, Any]) -> None:
        self.folder, self.to = Path(what["folder"]), Remote(what["to"])
        self.log, self.others = str(what["log"]), [*what["others"]]
        self.size, self.last_word = -1, b""

    def take(self) -> None:
        """Put what is new. Raises RunnerError, or OSError where it can't be read here."""
        while self.others:
            (self.to / self.others[0]).put(self.folder / self.others[0])
            del self.others[0]
        text = (self.folder / self.log).read_bytes() + self.last_word
        if len(text) != self.size:
            (self.to / self.log).write(text)
            self.size = len(text)

    def add_last_word(self) -> None:
        """Say in the log, as it is put, that this is all of it."""
        self.last_word = time.strftime("%H:%M:%S ", time.gmtime()).encode() + LAST_WORD


def main() -> None:
    """Take what standard input says until that ends."""
    what = json.loads(_line())
    if os.fork():
        os._exit(0)  # a worker's children are ended with it, but not their children
    try:
        _carry(_Load(what))
    finally:  # it holds nothing but copies
        shutil.rmtree(what["scratch"], ignore_errors=True)


def _carry(load: _Load) -> None:
    """Take what there is, as the worker asks and now and then, until it has ended."""
    wait_s, is_all = OFTEN_S, False
    while True:
        asked = _line() if select.select([0], [], [], wait_s)[0] else None
        if asked == b"" and not is_all:
            load.add_last_word()
        began_s, answer = time.monotonic(), dict[str, str]()
        try:
            load.take()
        except RunnerError as error:
            answer = {"type": type(error).__name__, "message": error.message, "hint": error.hint}
        except OSError as error:
            answer = {"type": type(error).__name__, "message": str(error), "hint": ""}
        wait_s = pause_s(time.monotonic() - began_s)
        if asked == b"":
            break
        if asked is not None:
            is_all = asked == _ALL
            with suppress(BrokenPipeError):  # who asked has died meanwhile
                os.write(1, json.dumps(answer).encode() + b"\n")
    if answer:
        print(f"{answer['type']}: {answer['message']}", file=sys.stderr)


def _line() -> bytes:
    """A line of standard input, which nothing is read of ahead; empty at its end."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return b""
        line += byte
    return line


if __name__ == "__main__":
    main()
