"""Ends what a cluster leaves behind when the command that started it is killed.

Run as a process of its own:  python reaper.py MARK FOLDER

It waits on its standard input, which the command holds open. At the end of it, which also comes
when the command is killed, every process whose environment carries MARK is ended and FOLDER is
removed; unless anything was written there, which says that the cluster stays. Ray's own clean-up
ends the raylet and the workers, but leaves its agents for a quarter of a minute or for good.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "RUNNER_EMBEDDED"
PATIENCE_S = 5.0


def marked(mark: str) -> list[int]:
    """Process ids, other than this one's, whose environment has ``VARIABLE`` set to ``mark``."""
    return [int(entry.name) for entry, about in _others() if _line(mark) in about]


def belonging(mark: str, folder: Path) -> list[int]:
    """The marked processes, and those that write in ``folder`` and hide what they are.

    Ray's agents write their title over where their environment began, at times with the mark.
    """
    return [
        int(entry.name)
        for entry, about in _others()
        if _line(mark) in about or (not about[0] and _has_open(entry, folder))
    ]


def _line(mark: str) -> bytes:
    return f"{VARIABLE}={mark}".encode()


def _others() -> Iterator[tuple[Path, list[bytes]]]:
    """What /proc has of each other process, and its environment."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:  # it ended meanwhile, or is another user's
                continue
            yield entry, environment.split(b"\0")


def _has_open(entry: Path, folder: Path) -> bool:
    """Whether the process has a file below ``folder`` open."""
    try:
        files = [*(entry / "fd").iterdir()]
    except OSError:  # it ended meanwhile
        return False
    return any(os.path.realpath(file).startswith(f"{folder.resolve()}/") for file in files)


def reap(mark: str, folder: Path) -> None:
    """End every process that belongs to it, those that appear meanwhile too; remove ``folder``."""
    deadline = time.monotonic() + PATIENCE_S
    while (pids := belonging(mark, folder)) and time.monotonic() < deadline:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


class Watch:
    """The process that reaps as soon as this one is through, or gone."""

    def __init__(self, mark: str, folder: Path) -> None:
        import subprocess  # not at the top: the process itself has no use for it

        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, mark, str(folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
            env={"PATH": os.environ.get("PATH", "")},
        )

    def let_live(self) -> None:
        """The cluster is up and stays: nothing is to be ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"stays")

    def end(self) -> None:
        """Have it reap, unless the cluster stays, and wait until it has."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if not sys.stdin.buffer.read():
        reap(sys.argv[1], Path(sys.argv[2]))
