"""Gangs on a real cluster: two ranks that train as one, fail as one, and go on after a kill."""

from __future__ import annotations

import json
import os
import random
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Command, wait_for
from tests.runs.one_rank import one_rank
from tests.runs.real_runs import TWO, Write, is_gone

BROKEN = """\
name: broken
tasks:
  model:
    kind: train
    model: {factory: one_rank:make}
    data: {name: digits}
    max_steps: 100000
    resources: {cpus: 0.5, num_workers: 2}
"""


def task(command: Command, run: str = "*") -> dict[str, Any]:
    (path,) = (command.folder / "runs").glob(f"{run}/report.json")
    found: dict[str, Any] = json.loads(path.read_text())["tasks"]["model"]
    return found


def attempt(command: Command, number: int = 1, run: str = "*") -> Path | None:
    return next((command.folder / "runs").glob(f"{run}/model/{number}"), None)


def pid_of(log: Path) -> int:
    found = re.search(r"process (\d+)", log.read_text())
    assert found is not None
    return int(found.group(1))


def weights(command: Command, number: int, run: str = "*") -> bytes:
    folder = attempt(command, number, run)
    assert folder is not None
    return (folder / "model" / "model.safetensors").read_bytes()


def test_two_ranks_train_one_model(warm: Command, spec: Write) -> None:
    two = spec(TWO.replace("STEPS", "60").replace(", dropout: 0.1", ""))
    done = warm("submit", two)
    assert done.code == 0, done.err
    ours = task(warm)
    assert ours["placement"]["bundles"] == [1, 1]
    folder = attempt(warm)
    assert folder is not None and "finished" in (folder / "log-1.txt").read_text()
    first, second = (pid_of(folder / name) for name in ("log.txt", "log-1.txt"))
    assert first != second
    wait_for(lambda: is_gone(first) and is_gone(second), timeout_s=30)
    run = next((warm.folder / "runs").iterdir())
    run.rename(warm.folder / "two")
    assert warm("submit", two, "--set", "tasks.model.resources.num_workers=1").code == 0
    alone = task(warm)
    for (step, loss), (other, expected) in zip(
        ours["series"]["train/loss"], alone["series"]["train/loss"], strict=True
    ):
        assert step == other and loss == pytest.approx(expected, abs=1e-5)
    assert ours["metrics"]["test/loss"] == pytest.approx(alone["metrics"]["test/loss"], abs=1e-4)


def test_the_rank_that_failed_is_named(warm: Command, spec: Write) -> None:
    raising = one_rank("self.calls == 10", "raise ValueError('rank one is broken')")
    (warm.folder / "one_rank.py").write_text(raising)
    done = warm("submit", spec(BROKEN), timeout_s=60)
    assert done.code == 1, done.err
    error = task(warm)["error"]
    assert error["type"] == "ValueError" and error["message"] == "rank one is broken"
    assert error["rank"] == 1
    assert error["frames"][0].startswith("one_rank.py:15 in forward")
    assert error["log"].endswith("log-1.txt")
    assert "rank one is broken" in Path(error["log"]).read_text()
    assert "rank 1" in done.err + done.out
    folder = attempt(warm)
    assert folder is not None
    wait_for(lambda: is_gone(pid_of(folder / "log.txt")), timeout_s=10)


def test_a_rank_that_hangs_shows_where(warm: Command, spec: Write) -> None:
    (warm.folder / "one_rank.py").write_text(one_rank("self.calls == 10", "time.sleep(1000)"))
    hanging = BROKEN.replace("kind: train", "kind: train\n    timeout: 20s")
    done = warm("submit", spec(hanging), timeout_s=60)
    assert done.code == 1, done.err
    assert task(warm)["status"] == "timed_out"
    folder = attempt(warm)
    assert folder is not None
    asleep, waiting = ((folder / name).read_text() for name in ("log-1.txt", "log.txt"))
    assert "Timeout" in asleep and 'one_rank.py", line 15 in forward' in asleep
    assert "Timeout" in waiting and "in backward" in waiting
    for name in ("log.txt", "log-1.txt"):
        wait_for(lambda name=name: is_gone(pid_of(folder / name)), timeout_s=10)  # type: ignore[misc]


def kill_a_rank(command: Command, file: str, rank: int, after_step: int) -> None:
    """Submits, and kills the rank once there is a checkpoint of ``after_step`` or later."""

    def has_come_to_it() -> bool:
        folder = attempt(command)
        found = [] if folder is None else (folder / "checkpoints").glob("step-*/checkpoint.json")
        return any(int(path.parent.name.removeprefix("step-")) >= after_step for path in found)

    with command.start("submit", file) as process:
        wait_for(has_come_to_it)
        folder = attempt(command)
        assert folder is not None
        logs = [folder / name for name in ("log.txt", "log-1.txt")]
        # At a URI they take a moment to come.
        wait_for(lambda: all(log.is_file() and "process" in log.read_text() for log in logs))
        pids = [pid_of(log) for log in logs]
        os.kill(pids[rank], signal.SIGKILL)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    found = task(command)
    assert [each["status"] for each in found["history"]] == ["lost", "finished"]
    assert found["metrics"]["checkpoint/resumed_at_step"] >= after_step
    for pid in pids:
        wait_for(lambda pid=pid: is_gone(pid), timeout_s=10)  # type: ignore[misc]


@pytest.mark.parametrize("rank", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_killed_rank_changes_no_bit(warm: Command, spec: Write, rank: int) -> None:
    file = spec(TWO.replace("STEPS", "2000"))
    kill_a_rank(warm, file, rank, after_step=100)
    killed = weights(warm, 2)
    next((warm.folder / "runs").iterdir()).rename(warm.folder / "killed")
    assert warm("submit", file).code == 0
    assert weights(warm, 1) == killed


@pytest.mark.slow
def test_ten_kills_change_no_bit(warm: Command, spec: Write) -> None:
    file = spec(TWO.replace("STEPS", "3000"))
    assert warm("submit", file).code == 0
    whole = weights(warm, 1)
    (warm.folder / "runs").rename(warm.folder / "whole")
    chance = random.Random(0)
    for number in range(10):
        kill_a_rank(warm, file, chance.randrange(2), after_step=chance.randrange(20, 2000))
        assert weights(warm, 2) == whole
        (warm.folder / "runs").rename(warm.folder / f"killed-{number}")
