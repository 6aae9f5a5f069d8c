"""A gang that runs out of memory goes on with half as many samples at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from runner.errors import fewer_rows
from runner.model import Record
from runner.runs.resuming import before
from runner.runs.schedule import Before, End, Schedule, Start
from tests.conftest import Command
from tests.runs.one_rank import one_rank
from tests.runs.plans import plan, record, run_folder

Write = Callable[..., str]


def tight(first: int, room: int) -> str:
    """A model of the user's for which rank 1 has, from a training pass on, room for so many."""
    is_too_many = f"self.training and self.calls > {first} and len(x) > {room}"
    return one_rank(is_too_many, 'raise torch.OutOfMemoryError("no room")')


SPEC = """\
name: tight
tasks:
  model:
    kind: train
    model: {factory: tight:make}
    data: {name: digits}
    max_steps: 60
    global_batch_size: 48
    lr_scheduler: {name: cosine, warmup_steps: 5}
    checkpoint: {every_steps: 4}
    retry: {max_restarts: 0}
    resources: {cpus: 0.5, num_workers: 2}
"""


def out_of_memory(rows: int) -> dict[str, Any]:
    return {"type": "OutOfMemory", "message": f"no room for {rows}", "rows": rows}


def test_half_as_many_until_one_is_too_many() -> None:
    assert [fewer_rows(out_of_memory(rows)) for rows in (64, 3, 2, 1)] == [32, 1, 1, None]
    assert fewer_rows(None) is None and fewer_rows({"type": "ValueError"}) is None


def test_what_ran_out_of_memory_is_tried_again_whatever_the_restarts() -> None:
    schedule = Schedule(plan({"a": ()}, max_restarts=0))
    schedule.begin()
    for attempt, rows in ((2, 5), (3, 2), (4, 1)):
        assert schedule.ended("a", "failed", out_of_memory(rows)) == [Start("a", attempt)]
        assert schedule.max_rows["a"] == rows // 2
        assert schedule.status["a"] == "running"
        if rows == 2:
            break
    error = out_of_memory(1)
    assert schedule.ended("a", "failed", error) == [End("a", "failed", error)]


def test_restarts_are_counted_without_them() -> None:
    schedule = Schedule(plan({"a": ()}, max_restarts=1))
    schedule.begin()
    assert schedule.ended("a", "lost", None) == [Start("a", 2)]
    assert schedule.ended("a", "failed", out_of_memory(8)) == [Start("a", 3)]
    assert schedule.ended("a", "lost", None) == [End("a", "lost", None)]


def test_an_attempt_that_takes_no_fewer_is_the_last() -> None:
    schedule = Schedule(plan({"a": ()}))
    schedule.begin()
    schedule.ended("a", "failed", out_of_memory(8))
    error = out_of_memory(8)
    assert schedule.ended("a", "failed", error) == [End("a", "failed", error)]


def test_a_resumed_run_remembers_it(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "tight", "a", "b")
    folder.append(record("run_started", run="tight", job="by-hand"))
    for number, rows in ((1, 32), (2, 16)):
        for event, data in (
            ("attempt_started", {"placement": {}}),
            ("attempt_ended", {"status": "failed", "error": out_of_memory(rows)}),
        ):
            folder.append(Record(at_s=2.0, event=event, task="a", attempt=number, data=data))
    folder.append(record("run_ended", status="cancelled"))
    found = before(folder)
    assert found["a"] == Before(attempts=2, max_rows=8)
    assert found.get("b", Before()).max_rows is None
    schedule = Schedule(folder.plan(), found)
    assert schedule.begin()[0] == Start("a", 3)
    assert schedule.max_rows == {"a": 8, "b": None}


def trained(command: Command, file: str, *more: str) -> tuple[dict[str, Any], str]:
    """The task's part of the report, and what was printed; the run's folder is moved away."""
    done = command("submit", file, *more)
    (path,) = (command.folder / "runs").glob("*/report.json")
    task: dict[str, Any] = json.loads(path.read_text())["tasks"]["model"]
    page = (path.parent / "report.md").read_text()
    assert done.code == (0 if task["status"] == "finished" else 1), done.err
    path.parent.rename(command.folder / f"kept-{len(list(command.folder.glob('kept-*')))}")
    return task, done.err + done.out + page


def weights(command: Command, kept: int, attempt: int) -> dict[str, Any]:
    file = command.folder / f"kept-{kept}" / "model" / str(attempt) / "model/model.safetensors"
    found: dict[str, Any] = load_file(file)
    return found


def test_a_gang_goes_on_from_its_checkpoint_and_gives_the_same_weights(
    warm: Command, spec: Write
) -> None:
    file = spec(SPEC)
    # For a quarter of the 24 samples of a rank: 12 come first, then 6.
    (warm.folder / "tight.py").write_text(tight(10, 6))
    task, shown = trained(warm, file)
    history = task["history"]
    assert [each["status"] for each in history] == ["failed", "failed", "finished"]
    assert [each["max_rows"] for each in history] == [None, 12, 6]
    assert [(each["error"] or {}).get("rows") for each in history] == [24, 12, None]
    assert history[0]["error"]["rank"] == 1
    assert task["status"] == "finished" and task["error"] is None
    assert task["metrics"]["checkpoint/resumed_at_step"] >= 4
    assert task["metrics"]["train/per_device_batch_size"] == 6
    for text in (
        "rank 1: cpu ran out of memory with 24 samples at once; attempt 2 starts with at most 12",
        "with at most 6 samples at once from step",
        "48 = 6 per device × 4 accumulated × 2 workers, as memory allowed",
    ):
        assert text in shown, text
    # One worker has all the room there is, and runs the same training.
    trained(warm, file, "--set", "tasks.model.resources.num_workers=1")
    halved, whole = weights(warm, 0, 3), weights(warm, 1, 1)
    assert whole.keys() == halved.keys()
    for name, value in whole.items():
        assert abs(value - halved[name]).max() < 1e-5, name


def test_one_sample_too_many_is_the_end(warm: Command, spec: Write) -> None:
    file = spec(SPEC.replace("    checkpoint: {every_steps: 4}\n", ""))
    (warm.folder / "tight.py").write_text(tight(10, 0))
    task, shown = trained(warm, file, "--set", "tasks.model.global_batch_size=4")
    assert [each["status"] for each in task["history"]] == ["failed", "failed"]
    assert task["error"]["message"] == "cpu ran out of memory with 1 sample at once"
    assert task["error"]["type"] == "OutOfMemory" and task["error"]["rank"] == 1
    assert "recompute activations" in shown and "Traceback" not in shown


def test_what_fits_is_found_also_where_only_one_rank_has_no_room(
    warm: Command, spec: Write
) -> None:
    """Copies find it without another attempt; of 24 samples a rank there is room for 7."""
    (warm.folder / "tight.py").write_text(tight(0, 7))
    auto = SPEC.replace(
        "global_batch_size: 48", "global_batch_size: 48\n    per_device_batch_size: auto"
    )
    task, _ = trained(warm, spec(auto))
    assert [each["status"] for each in task["history"]] == ["finished"]
    assert task["metrics"]["train/per_device_batch_size"] == 6


def test_ranks_that_divide_the_model_find_it_with_another_attempt(
    warm: Command, spec: Write
) -> None:
    """The first that does not fit is 8 of these: half of that does."""
    (warm.folder / "tight.py").write_text(tight(0, 7))
    auto = SPEC.replace(
        "global_batch_size: 48", "global_batch_size: 48\n    per_device_batch_size: auto"
    )
    task, shown = trained(warm, spec(auto + "    parallelism: {strategy: fsdp}\n"))
    assert [each["status"] for each in task["history"]] == ["failed", "finished"]
    assert [each["max_rows"] for each in task["history"]] == [None, 4]
    assert task["metrics"]["train/per_device_batch_size"] == 4
    assert "rank 1: cpu ran out of memory with 8 samples at once" in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parallelism", "rows"),
    [
        ("{pp: 2, microbatches: 4}", [None, 6]),
        ("{strategy: fsdp}", [None, 12]),
    ],
)
def test_whatever_the_strategy(
    warm: Command, spec: Write, parallelism: str, rows: list[int | None]
) -> None:
    """In a pipeline it is the micro-batches that are halved."""
    sequence = tight(48, 8) + (
        "\n\ndef stages(input_shape):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), make([64]))\n"
    )
    (warm.folder / "tight.py").write_text(sequence)
    file = spec(SPEC.replace("tight:make", "tight:stages") + f"    parallelism: {parallelism}\n")
    task, _ = trained(warm, file)
    assert task["status"] == "finished"
    assert [each["max_rows"] for each in task["history"]] == rows
    assert task["metrics"]["checkpoint/resumed_at_step"] >= 4
