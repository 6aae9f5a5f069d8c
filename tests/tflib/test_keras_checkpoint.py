"""A Keras training goes on from a checkpoint as if it had never stopped, to the last bit."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from runner.errors import TaskError

# Four steps an epoch of 32 samples; dropout draws from a state that has to come back, too.
ABOUT: dict[str, Any] = {
    "args": {"hidden": [8], "dropout": 0.4},
    "batch": 10,
    "total_steps": 14,
    "optimizer": "adamw",
    "schedule": "cosine",
    "weight_decay": 0.01,
}


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("stop_after", [7, 12])
def test_a_training_that_was_stopped_ends_as_the_whole_one(
    kit: ModuleType, tmp_path: Path, stop_after: int, replicas: int
) -> None:
    data = kit.small()
    whole = kit.train(data, replicas=replicas, **ABOUT)
    kit.train(data, replicas=replicas, checkpoints=tmp_path, stop_after=stop_after, **ABOUT)
    resumed = kit.train(data, replicas=replicas, checkpoints=tmp_path, **ABOUT)
    ((_, at),) = resumed.series("checkpoint/resumed_at_step")
    # A point comes before the checkpoint of its step.
    assert at == 3 * ((stop_after - 1) // 3)
    np.testing.assert_array_equal(resumed.weights, whole.weights)
    assert resumed.series("train/loss") == whole.series("train/loss")[int(at) :]
    theirs = [point for point in whole.series("test/loss") if point[0] >= at]
    assert resumed.series("test/loss") == theirs


def test_the_newest_are_kept_and_a_broken_one_is_passed_over(
    kit: ModuleType, tmp_path: Path
) -> None:
    data = kit.small()
    kit.train(data, checkpoints=tmp_path, **ABOUT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000009", "step-00000012"]
    broken = tmp_path / "step-00000012" / "variables.npz"
    broken.write_bytes(broken.read_bytes()[:-10])
    resumed = kit.train(data, checkpoints=tmp_path, **ABOUT)
    assert resumed.series("checkpoint/resumed_at_step") == [(None, 9)]


def test_in_storage_at_a_uri_they_are_as_on_a_disk(kit: ModuleType, tmp_path: Path) -> None:
    from runner.storage import at

    data, storage = kit.small(), at(f"file://{tmp_path}/stored")
    whole = kit.train(data, **ABOUT)
    kit.train(data, checkpoints=storage, stop_after=11, **ABOUT)
    resumed = kit.train(data, checkpoints=storage, **ABOUT)
    assert resumed.series("checkpoint/resumed_at_step") == [(None, 9)]
    np.testing.assert_array_equal(resumed.weights, whole.weights)
    assert storage.names() == ["step-00000009", "step-00000012"]


def test_one_of_another_model_is_refused(kit: ModuleType, tmp_path: Path) -> None:
    data = kit.small()
    kit.train(data, checkpoints=tmp_path, **ABOUT)
    other = {**ABOUT, "args": {"hidden": [9], "dropout": 0.4}}
    with pytest.raises(TaskError, match="another model or optimizer"):
        kit.train(data, checkpoints=tmp_path, **other)
