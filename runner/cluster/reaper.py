"""Ends what an embedded cluster leaves behind when the command that started it is killed.

Run as a process of its own:  python reaper.py MARK FOLDER

It waits on its standard input, which the command holds open. At the end of it, which also comes
when the command is killed, every process whose environment carries MARK is ended and FOLDER is
removed. Ray's own clean-up ends the raylet and the workers, but leaves its agents for a quarter of
a minute or for good.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

VARIABLE = "RUNNER_EMBEDDED"
PATIENCE_S = 5.0


def marked(mark: str) -> list[int]:
    """Process ids, other than this one's, whose environment has ``VARIABLE`` set to ``mark``."""
    wanted = f"{VARIABLE}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:  # it ended meanwhile, or is another user's
            continue
        if wanted in environment.split(b"\0"):
            found.append(int(entry.name))
    return found


def reap(mark: str, folder: Path) -> None:
    """End every marked process, those that appear meanwhile too, then remove ``folder``."""
    deadline = time.monotonic() + PATIENCE_S
    while (pids := marked(mark)) and time.monotonic() < deadline:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    reap(sys.argv[1], Path(sys.argv[2]))
