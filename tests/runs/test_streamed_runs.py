"""Runs whose data is streamed: the same model as from memory, by one worker or a gang."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.conftest import Command
from tests.runs.test_gangs import Write, kill_a_rank, task, weights
from tests.torchlib.streaming.samples import write_images, write_tables

IMAGES = """\
name: images
tasks:
  model:
    kind: train
    model: {name: mlp, args: {hidden: [16, 8], dropout: 0.1}}
    data: {path: data, stream: true}
    max_epochs: 3
    global_batch_size: 16
    parallelism: PARALLELISM
    resources: {cpus: 0.5, num_workers: 2}
"""

TABLES = """\
name: tables
tasks:
  model:
    kind: train
    model: {name: mlp, args: {hidden: [16], dropout: 0.1}}
    data: {path: data, stream: true}
    max_steps: STEPS
    global_batch_size: 32
    checkpoint: {every_steps: 10}
    resources: {cpus: CPUS, num_workers: 2}
"""

DISTILL = """\
name: distill
tasks:
  teacher:
    kind: train
    model: {name: mlp, args: {hidden: [32]}}
    data: {path: data}
    max_epochs: 3
  student:
    kind: distill
    teacher: ${tasks.teacher.outputs.model}
    model: {name: mlp, args: {hidden: [4]}}
    data: {path: data, stream: true}
    max_epochs: 3
  again:
    kind: evaluate
    model: ${tasks.student.outputs.model}
    data: {path: data}
"""


@pytest.mark.parametrize(
    "parallelism", ["{}", pytest.param("{pp: 2, microbatches: 2}", marks=pytest.mark.slow)]
)
def test_two_ranks_on_streamed_images_are_two_ranks_on_images(
    warm: Command, spec: Write, parallelism: str
) -> None:
    write_images(warm.folder / "data", 45)
    file = spec(IMAGES.replace("PARALLELISM", parallelism))
    done = warm("submit", file)
    assert done.code == 0, done.err
    assert "90 image files, streamed: 72 samples to train on" in json.dumps(warm.records())
    ours, metrics = weights(warm, 1), task(warm)["metrics"]
    (warm.folder / "runs").rename(warm.folder / "streamed")
    assert warm("submit", file, "--set", "tasks.model.data.stream=false").code == 0
    assert weights(warm, 1) == ours
    expected = task(warm)["metrics"]
    for name in ("test/loss", "test/accuracy", "data/train_samples", "data/test_samples"):
        assert metrics[name] == expected[name]


@pytest.mark.slow  # tests/torchlib/streaming has it at a lower level
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_changes_no_bit_of_a_streamed_training(
    warm: Command, spec: Write, rank: int
) -> None:
    write_tables(warm.folder / "data", (470, 30, 610, 300), group=50)
    file = spec(TABLES.replace("STEPS", "400").replace("CPUS", "0.5"))
    kill_a_rank(warm, file, rank, after_step=50)
    killed = weights(warm, 2)
    next((warm.folder / "runs").iterdir()).rename(warm.folder / "killed")
    assert warm("submit", file).code == 0
    assert weights(warm, 1) == killed


@pytest.mark.slow  # tests/cluster/test_streaming.py has it at a lower level
@pytest.mark.timeout(300)
def test_a_gang_that_takes_every_cpu_reads_beside_it(command: Command, spec: Write) -> None:
    write_tables(command.folder / "data", (200, 100))
    cpus = _nodes(command)[0]["cpus"]
    file = spec(TABLES.replace("STEPS", "30").replace("CPUS", f"{cpus / 2:g}"))
    done = command("submit", file, timeout_s=170)
    assert done.code == 0, done.err
    assert task(command)["metrics"]["data/train_samples"] == 240


def test_a_torn_file_ends_the_run_and_is_named(warm: Command, spec: Write) -> None:
    folder = write_tables(warm.folder / "data", (200, 100))
    torn = folder / "part-1.parquet"
    whole = torn.read_bytes()
    torn.write_bytes(whole[:4] + bytes(len(whole) // 2) + whole[len(whole) // 2 + 4 :])
    done = warm("submit", spec(TABLES.replace("STEPS", "30").replace("CPUS", "0.5")))
    assert done.code == 1
    error = task(warm)["error"]
    assert error["type"] == "TaskError"
    assert f"{torn} can't be read as parquet, in row group" in error["message"]


def test_a_student_and_its_evaluation_hold_the_same_rows_out(warm: Command, spec: Write) -> None:
    write_tables(warm.folder / "data", (200, 100))
    done = warm("submit", spec(DISTILL))
    assert done.code == 0, done.err
    (path,) = (warm.folder / "runs").glob("*/report.json")
    tasks: dict[str, Any] = json.loads(path.read_text())["tasks"]
    student, again = (tasks[name]["metrics"] for name in ("student", "again"))
    assert student["data/train_samples"] == 240 and student["data/test_samples"] == 60
    assert student["test/loss"] == again["test/loss"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_does_not_grow_with_the_data(warm: Command, spec: Write) -> None:
    text = TABLES.replace("max_steps: STEPS", "max_epochs: 1").replace("CPUS", "1")
    text = text.replace(", num_workers: 2", "").replace("true}", "true, test_fraction: 0.01}")
    peaks = []
    for megabytes in (200, 400):
        folder = warm.folder / "data"
        folder.mkdir(exist_ok=True)
        random = np.random.default_rng(megabytes)
        for number in range(len(list(folder.iterdir())), megabytes // 20):
            values = random.normal(size=(500, 10_000)).astype(np.float32)
            columns = {f"f{index}": column for index, column in enumerate(values)}
            kinds = random.integers(0, 3, 10_000)
            parquet.write_table(
                pa.table({**columns, "kind": kinds}), folder / f"{number}.parquet",
                row_group_size=2_000,
            )  # fmt: skip
        assert warm("submit", spec(text), timeout_s=400).code == 0
        peaks.append(task(warm)["metrics"]["memory/peak_mb"])
        (warm.folder / "runs").rename(warm.folder / f"runs-{megabytes}")
    assert abs(peaks[1] - peaks[0]) < 80


def test_a_worker_without_ray_says_what_to_do(warm: Command, spec: Write, tmp_path: Path) -> None:
    from runner.worker.attempt import attempt as carry_out
    from tests.worker.orders import order

    params = {
        "model": {"name": "mlp"},
        "data": {"path": str(write_tables(tmp_path / "data", (50,))), "stream": True},
        "max_steps": 3,
    }
    last = list(carry_out(order(tmp_path / "1", "train", params)))[-1]
    assert "this worker runs without Ray" in last.data["error"]["message"]
    assert "runner submit" in last.data["error"]["hint"]


def _nodes(command: Command) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(command("nodes", "--json").out)["nodes"]
    return found
