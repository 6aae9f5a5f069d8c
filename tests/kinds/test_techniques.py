"""What a spec says of averaging, stopping and augmenting, and what becomes of it in a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from runner.errors import SpecError, TaskError
from runner.kinds import find
from runner.model import Artifact, Context, Metric
from runner.spec import load

TASK = """\
name: job
tasks:
  teacher:
    kind: train
    model: {name: mlp}
    data: {name: digits}
    max_epochs: 1
  a:
    kind: distill
    teacher: ${tasks.teacher.outputs.model}
    model: {name: mlp}
    data: {name: digits}
    max_epochs: 1
"""


def refused(lines: str) -> list[str]:
    try:
        load((TASK + lines).encode(), file="job.yaml", environment={})
    except SpecError as error:
        return [str(fault).removeprefix("job.yaml:") for fault in error.faults]
    return []


WRONG = {
    "    augment: {}\n": "expected at least one of 'flip', 'crop' and 'cutout'",
    "    augment: {flip: true}\n    cache_teacher: always\n": "expected auto or never",
    "    ema: {decay: 1.0}\n": "less than 1",
    "    early_stopping: {metric: train/loss}\n": "test/loss",
    "    early_stopping: {patience: 0}\n": "patience",
}
RIGHT = [
    "    augment: {flip: true}\n",
    "    augment: {crop: 2}\n    cache_teacher: never\n",
    "    cache_teacher: always\n",
    "    ema: {}\n    early_stopping: {}\n    compile: true\n    deterministic: true\n",
]


@pytest.mark.parametrize("lines", WRONG)
def test_what_is_refused(lines: str) -> None:
    (fault,) = refused(lines)
    assert WRONG[lines] in fault


@pytest.mark.parametrize("lines", RIGHT)
def test_what_is_taken(lines: str) -> None:
    assert refused(lines) == []


def test_text_can_not_be_augmented() -> None:
    text = """\
name: job
tasks:
  a:
    kind: train
    model: {name: gpt}
    data: {name: stdlib}
    max_epochs: 1
    augment: {flip: true}
"""
    with pytest.raises(SpecError) as caught:
        load(text.encode(), file="job.yaml", environment={})
    (fault,) = caught.value.faults
    assert "'augment' changes images, and the data is text" in str(fault)


def run(folder: Path, kind: str = "train", **params: Any) -> tuple[dict[str, float], Path]:
    """The last metric of each name, and the folder of the model."""
    torch.set_num_threads(1)
    found = find(kind)
    given = {"model": {"name": "mlp", "args": {"hidden": [16]}}, "data": {"name": "digits"},
             "max_epochs": 2, **params}  # fmt: skip
    context = Context(params=found.params.model_validate(given), folder=folder)
    items = list(found.run(context))
    (model,) = (item.path for item in items if isinstance(item, Artifact))
    return {item.name: item.value for item in items if isinstance(item, Metric)}, model


def test_the_best_averaged_weights_are_the_artifact(tmp_path: Path) -> None:
    params: dict[str, Any] = {
        "max_epochs": 30,
        "optimizer": {"learning_rate": 0.1},
        "ema": {"decay": 0.9},
        "early_stopping": {"patience": 2},
        "augment": {"crop": 1},
        "checkpoint": {"every_steps": 10},
    }
    found, _ = run(tmp_path, **params)
    # 23 steps an epoch; the last score is that of what was read back.
    assert found["train/stopped_at_step"] == found["train/best_step"] + 2 * 23
    kind = find("train")
    series = [
        (item.step, item.value)
        for item in kind.run(
            Context(params=kind.params.model_validate(
                {"model": {"name": "mlp", "args": {"hidden": [16]}},
                 "data": {"name": "digits"}, **params}
            ), folder=tmp_path / "again")
        )
        if isinstance(item, Metric) and item.name == "test/loss"
    ]  # fmt: skip
    best = min(value for step, value in series if step is not None)
    assert (None, pytest.approx(best)) == series[-1]
    assert found["test/loss"] == series[-1][1]


def test_a_live_teacher_sees_the_augmented_samples(tmp_path: Path) -> None:
    _, teacher = run(tmp_path / "teacher")
    plain, _ = run(tmp_path / "plain", "distill", teacher=str(teacher))
    changed, _ = run(tmp_path / "changed", "distill", teacher=str(teacher), augment={"crop": 1})
    assert plain["train/loss"] != changed["train/loss"]


def test_a_model_without_blocks_has_nothing_to_recompute(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="activation_checkpointing works block by block"):
        run(tmp_path, activation_checkpointing=True)


def test_recomputed_blocks_make_the_same_model(tmp_path: Path) -> None:
    vit = {"name": "vit", "args": {"dim": 16, "depth": 1, "heads": 2, "patch": 4}}
    losses = [
        run(tmp_path / str(on), model=vit, max_epochs=1, activation_checkpointing=on)[0][
            "test/loss"
        ]
        for on in (False, True)
    ]
    assert losses[0] == losses[1]
