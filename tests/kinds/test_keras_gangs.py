"""kind: keras on several workers: on a real cluster, and what becomes of a worker that is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from runner.worker.wire import order_to_json, record_from_json
from tests.conftest import Command, wait_for
from tests.runs.real_runs import TWO, Write, is_gone
from tests.worker.orders import order

pytestmark = pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="needs TensorFlow: pip install 'runner[tf]'"
)

# A model of the user's own, before which the second rank sleeps.
SLEEPY = """\
import time
import keras
import tensorflow as tf

def make(input_shape, num_classes):
    if tf.distribute.get_strategy().cluster_resolver.task_id == 1:
        time.sleep(1000)
    return keras.Sequential([keras.Input(input_shape), keras.layers.Dense(num_classes)])
"""


def ranks(folder: Path, params: dict[str, Any], count: int = 2) -> list[list[Any]]:
    """The records of each of several ranks that carry out one attempt, with no Ray."""
    running = []
    for rank in range(count):
        what = order(folder / "attempt", "keras", params, rank=rank, world_size=count)
        file = folder / f"order-{rank}.json"
        file.write_text(order_to_json(what))
        command = [sys.executable, "-m", "runner.worker", file.name]
        running.append(
            subprocess.Popen(
                command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    try:
        told = [process.communicate(timeout=150) for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert [process.returncode for process in running] == [0] * count, told
    return [[record_from_json(line) for line in out.splitlines()] for out, _ in told]


def test_all_ranks_train_and_the_first_keeps_and_measures(tmp_path: Path) -> None:
    params = {
        "model": {"name": "mlp", "args": {"hidden": [8]}},
        "data": {"name": "digits"},
        "max_steps": 9,
        "global_batch_size": 50,
        "gradient_accumulation_steps": 2,
        "checkpoint": {"every_steps": 4, "keep": 1},
    }
    first, second = ranks(tmp_path, params)
    facts = {r.data["name"]: r.data["text"] for r in first if r.event == "fact"}
    assert facts["strategy"] == "multi_worker, auto; a replica on each worker"
    points = [p for r in first if r.event == "metrics" for p in r.data["points"]]
    summary = {name: value for name, step, value in points if step is None}
    assert (summary["train/replicas"], summary["train/per_replica_batch_size"]) == (2, 13)
    assert "latency/p50_ms" in summary
    assert [r.data["name"] for r in first if r.event == "artifact"] == ["model"]
    assert [r for r in second if r.event == "artifact"] == []
    names = sorted(path.name for path in (tmp_path / "attempt").iterdir())
    assert names == ["checkpoints", "model", "over", "rendezvous-0", "rendezvous-1"]
    (kept,) = (tmp_path / "attempt/checkpoints").iterdir()
    assert kept.name == "step-00000008"


def task(command: Command) -> dict[str, Any]:
    (path,) = (command.folder / "runs").glob("*/report.json")
    found: dict[str, Any] = json.loads(path.read_text())["tasks"]["model"]
    return found


def attempt(command: Command, number: int) -> Path | None:
    return next((command.folder / "runs").glob(f"*/model/{number}"), None)


def pids(folder: Path) -> list[int]:
    """The processes of both ranks, once both have told theirs."""
    logs = [folder / name for name in ("log.txt", "log-1.txt")]
    wait_for(lambda: all(log.is_file() and "process" in log.read_text() for log in logs))
    found = [re.search(r"process (\d+)", log.read_text()) for log in logs]
    return [int(each.group(1)) for each in found if each is not None]


def weights(command: Command, number: int) -> list[Any]:
    """The arrays of the model that an attempt kept, byte by byte."""
    folder = attempt(command, number)
    assert folder is not None
    code = (
        "import keras, sys; model = keras.saving.load_model(sys.argv[1], compile=False)\n"
        "print([value.tobytes().hex() for value in model.get_weights()])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / "model" / "model.keras")],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found: list[Any] = json.loads(done.stdout.splitlines()[-1].replace("'", '"'))
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_changes_no_bit(warm: Command, spec: Write, rank: int) -> None:
    file = spec(TWO.replace("kind: train", "kind: keras").replace("STEPS", "2000"))

    def has_checkpoints() -> Path | None:
        folder = attempt(warm, 1)
        found = [] if folder is None else list(folder.glob("checkpoints/step-*/checkpoint.json"))
        return folder if len(found) >= 2 else None

    with warm.start("submit", file) as process:
        folder = wait_for(has_checkpoints, timeout_s=120)
        both = pids(folder)
        os.kill(both[rank], signal.SIGKILL)
        # The other does not outlive it for long.
        wait_for(lambda: is_gone(both[1 - rank]), timeout_s=15)
        _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    found = task(warm)
    assert [each["status"] for each in found["history"]] == ["lost", "finished"]
    assert found["metrics"]["checkpoint/resumed_at_step"] >= 20
    killed = weights(warm, 2)
    (warm.folder / "runs").rename(warm.folder / "killed")
    assert warm("submit", file, timeout_s=240).code == 0
    assert weights(warm, 1) == killed


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_rank_that_hangs_is_ended_by_the_timeout(warm: Command, spec: Write) -> None:
    (warm.folder / "sleepy.py").write_text(SLEEPY)
    text = TWO.replace("{name: mlp, args: {hidden: [32], dropout: 0.1}}", "{factory: sleepy:make}")
    text = text.replace("kind: keras", "kind: keras\n    timeout: 40s")
    done = warm("submit", spec(text.replace("STEPS", "1000")), timeout_s=200)
    assert done.code == 1, done.err
    assert task(warm)["status"] == "timed_out"
    folder = attempt(warm, 1)
    assert folder is not None
    assert 'sleepy.py", line 7 in make' in (folder / "log-1.txt").read_text()
    for pid in pids(folder):
        wait_for(lambda pid=pid: is_gone(pid), timeout_s=10)  # type: ignore[misc]
