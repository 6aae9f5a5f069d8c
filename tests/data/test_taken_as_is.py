"""Data for a model that was taken over: values stay what they are, and nothing is claimed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runner.data import load
from runner.data.dataset import Dataset, origin_of
from runner.data.origin import check_unseen
from runner.errors import TaskError

TOKENS = np.random.default_rng(0).integers(0, 30_000, size=(400, 7)).astype("float32")
LABELS = np.arange(400) % 4


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "tokens.npz"
    np.savez(path, x=TOKENS, y=LABELS)
    return str(path)


def rows(data: Dataset) -> set[bytes]:
    return {row.tobytes() for part in (data.train_inputs, data.test_inputs) for row in part}


def test_values_are_the_same_to_the_last_bit_here_and_in_tasks_that_follow(file: str) -> None:
    data = load(path=file, is_scaled=False)
    assert rows(data) == {row.tobytes() for row in TOKENS}
    assert data.preprocessing == {"mean": [0.0] * 7, "std": [1.0] * 7}
    from runner.data.dataset import Preparation

    origin = replace(origin_of(data), train_samples=0)
    like = Preparation(
        task=data.task, classes=data.classes, preprocessing=data.preprocessing, origin=origin
    )
    again = load(path=file, like=like)
    assert again.test_inputs.tobytes() == data.test_inputs.tobytes()  # held out alike, too


def test_all_of_it_may_be_held_out(file: str) -> None:
    data = load(path=file, is_scaled=False, test_fraction=1.0)
    assert (len(data.train_inputs), len(data.test_inputs)) == (0, 400)
    with pytest.raises(TaskError, match="held out"):
        load(path=file, test_fraction=1.0)


def test_nobody_is_said_to_have_trained_on_it(file: str) -> None:
    data, halves = (load(path=file, is_scaled=False, test_fraction=part) for part in (0.2, 0.5))
    trained = origin_of(data)
    with pytest.raises(TaskError, match="was trained on this data"):
        check_unseen("model", trained, origin_of(halves))
    check_unseen("model", replace(trained, train_samples=0), origin_of(halves))
