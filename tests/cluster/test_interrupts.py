"""An interrupt while the embedded cluster is still starting, and what is left of it then."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.cluster import reaper
from tests.cluster.processes import carrying
from tests.conftest import Command, wait_for

Write = Callable[..., str]

SPEC = """\
name: early
tasks:
  task:
    kind: train
    model: {name: mlp, args: {hidden: [16]}}
    data: {name: digits}
    max_steps: 10000000
"""


@pytest.fixture
def temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        yield Path(folder)


def started(command: Command) -> bool:
    """Whether the run has, so that Ray does: nothing comes between the two."""
    return [record["event"] for record in command.records()] == ["run_started"]


@pytest.mark.parametrize(
    "numbers",
    [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGTERM]],
    ids=["ctrl-c", "terminated", "twice"],
)
def test_a_run_is_cancelled_while_ray_starts(
    command: Command, temporary: Path, spec: Write, numbers: list[int]
) -> None:
    command.environment = {**command.environment, "TMPDIR": str(temporary)}
    with command.start("submit", spec(SPEC)) as process:
        wait_for(lambda: started(command))
        os.kill(process.pid, signal.SIGSTOP)  # so that both arrive before it can act on one
        for number in numbers:
            os.kill(process.pid, number)
        os.kill(process.pid, signal.SIGCONT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in out + err
    records = command.records()
    # It did not wait for Ray, which would have been asked for a worker at once.
    assert "attempt_started" not in {record["event"] for record in records}
    assert records[-1]["data"] == {"status": "cancelled"}
    (row,) = json.loads(command("list", "--json").out)
    assert (row["status"], row["tasks"]) == ("cancelled", {"task": "cancelled"})
    if len(numbers) == 1:
        assert "cancelled" in out
        assert list((command.folder / "runs").glob("*/report.html"))
    wait_for(lambda: not carrying("TMPDIR", str(temporary)), timeout_s=10)
    wait_for(lambda: not list(temporary.iterdir()), timeout_s=10)


def test_an_interrupt_before_there_is_a_run_leaves_none(command: Command, spec: Write) -> None:
    with command.start("submit", spec(SPEC)) as process:
        # The command is at work: Python no longer ends by SIGTERM alone, as it does at first.
        wait_for(lambda: _catches(process.pid, signal.SIGTERM))
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    for record in command.records():  # it may have been just begun
        assert record["event"] != "attempt_started"


def _catches(pid: int, number: int) -> bool:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


SLEEPS = "import sys, threading; print('up', flush=True); threading.Event().wait()"


def test_processes_that_hide_their_mark_are_known_by_their_files(tmp_path: Path) -> None:
    """Ray's agents do: they write their title over where their environment began."""
    folder, elsewhere = tmp_path / "cluster", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()

    def start(log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with log.open("wb") as file:
            process = subprocess.Popen([sys.executable, "-c", SLEEPS], stdout=file, env=environment)
        wait_for(lambda: log.read_text() == "up\n")
        return process

    hidden = start(folder / "log", {})
    marked = start(elsewhere / "marked", {reaper.VARIABLE: "m"})
    others = [start(elsewhere / "log", {}), start(folder / "other", {reaper.VARIABLE: "n"})]
    try:
        reaper.reap("m", folder)
        assert [hidden.wait(10), marked.wait(10)] == [-signal.SIGKILL] * 2
        assert [process.poll() for process in others] == [None, None]
        assert not folder.exists()
    finally:
        for process in (hidden, marked, *others):
            process.kill()
            process.wait()


def test_what_stays_is_not_reaped(tmp_path: Path) -> None:
    kept, gone = tmp_path / "kept", tmp_path / "gone"
    for folder in (kept, gone):
        folder.mkdir()
        watch = reaper.Watch("no-process-has-this-mark", folder)
        if folder is kept:
            watch.let_live()
        watch.end()
    assert kept.is_dir()
    assert not gone.exists()
