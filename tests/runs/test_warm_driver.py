"""Runs that the resident driver of a warm cluster carries out, when who submitted them is gone."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.conftest import Command, wait_for

Write = Callable[..., str]

LONG = """\
name: long
tasks:
  long:
    kind: train
    model: {name: mlp, args: {hidden: [16]}}
    data: {name: digits}
    max_steps: 10000000
"""


def running_pid(command: Command) -> int | None:
    running = [r for r in command.records() if r["event"] == "attempt_running"]
    return int(running[0]["data"]["pid"]) if running else None


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_interrupted_twice_at_once_no_worker_goes_on(warm: Command, spec: Write) -> None:
    with warm.start("submit", spec(LONG)) as process:
        pid = wait_for(lambda: running_pid(warm))
        os.kill(process.pid, signal.SIGSTOP)  # so that both arrive before it can act on one
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGTERM)
        os.kill(process.pid, signal.SIGCONT)
        process.communicate(timeout=5)
    assert process.returncode == 130
    try:
        wait_for(lambda: gone(pid), timeout_s=10)
        (row,) = json.loads(warm("list", "--json").out)
        assert row["status"] == "cancelled"
    finally:
        (folder,) = (warm.folder / "runs").iterdir()
        (folder / "cancel").touch()
        wait_for(lambda: gone(pid))


def test_a_run_goes_on_when_its_command_is_killed_and_ends_when_it_is_cancelled(
    warm: Command, spec: Write
) -> None:
    with warm.start("submit", spec(LONG)) as process:
        pid = wait_for(lambda: running_pid(warm))
        process.kill()
        process.communicate()
    told = len(warm.records())
    wait_for(lambda: len(warm.records()) > told)
    assert "running" in warm("status", "latest").out
    done = warm("cancel", "latest")
    assert (done.code, "cancelled" in done.out) == (0, True)
    wait_for(lambda: gone(pid), timeout_s=10)
