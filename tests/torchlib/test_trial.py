"""One forward pass before time is spent: data that a model can't take, and a model's own faults."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from runner.errors import TaskError
from runner.torchlib.data import Dataset
from runner.torchlib.trial import try_out
from runner.worker.failure import failure

# Each is made for images of 3 x 32 x 32, or for fewer words than there are.
MODELS = """\
import torch
from torch import nn


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3072, 4))

    def forward(self, x):
        return x.flatten(1) @ self.weight


class Unpacking(Wide):
    def forward(self, x):
        b, c, h, w = x.flatten(1).shape
        return x


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(5, 4)

    def forward(self, x):
        return self.words(x.long().flatten(1)).mean(1)


class Saying(Wide):
    def forward(self, x):
        raise RuntimeError("the cache is not filled")


class Asserting(Wide):
    def forward(self, x):
        assert x.ndim == 2
        return x


class Slipping(Wide):
    def forward(self, x):
        return x.flat(1)


def conv():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(7200, 4))


def norm():
    return nn.Sequential(nn.BatchNorm3d(4))
"""


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "trial_theirs.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "trial_theirs", raising=False)
    return importlib.import_module("trial_theirs")


@pytest.fixture
def data() -> Dataset:
    inputs, targets = torch.arange(128.0).reshape(2, 1, 8, 8), torch.tensor([0, 1])
    return Dataset(
        train_inputs=inputs,
        train_targets=targets,
        test_inputs=inputs,
        test_targets=targets,
        input_shape=(1, 8, 8),
        classes=("a", "b", "c", "d"),
        task="classification",
        preprocessing={},
    )


@pytest.mark.parametrize(
    ("name", "said", "frame"),
    [
        ("Wide", "RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x64 and 3072x4)",
         "trial_theirs.py:11 in forward: return x.flatten(1) @ self.weight"),
        ("Unpacking", "ValueError: not enough values to unpack (expected 4, got 2)",
         "trial_theirs.py:16 in forward: b, c, h, w = x.flatten(1).shape"),
        ("Words", "IndexError: index out of range in self",
         "trial_theirs.py:26 in forward: return self.words(x.long().flatten(1)).mean(1)"),
        ("conv", "expected input[2, 1, 8, 8] to have 3 channels, but got 1 channels instead", None),
        ("norm", "ValueError: expected 5D input (got 4D input)", None),
    ],
)  # fmt: skip
def test_data_that_a_model_cant_take_is_told_with_its_shape_and_the_models_words(
    theirs: Any, data: Dataset, tmp_path: Path, name: str, said: str, frame: str | None
) -> None:
    with pytest.raises(TaskError) as caught:
        try_out(getattr(theirs, name)(), data)
    assert caught.value.message.startswith(
        "the model can't take the data: its samples have shape (1, 8, 8), of float32, and with 2 "
        "of them, (2, 1, 8, 8), the model raised "
    )
    assert said in caught.value.message
    assert "have the factory wrap the model" in caught.value.hint
    assert isinstance(caught.value.__cause__, RuntimeError | ValueError | IndexError)
    assert failure(caught.value, str(tmp_path))["frames"] == ([frame] if frame else [])


def test_of_whole_numbers_their_largest_is_told(theirs: Any, data: Dataset) -> None:
    from dataclasses import replace

    with pytest.raises(TaskError, match=r"of int64 up to 127, and with 2 of them"):
        try_out(theirs.Words(), replace(data, train_inputs=data.train_inputs.long()))


@pytest.mark.parametrize(
    ("name", "error", "frame"),
    [
        ("Saying", RuntimeError, "raise RuntimeError("),
        ("Asserting", AssertionError, "assert x.ndim == 2"),
        ("Slipping", AttributeError, "return x.flat(1)"),
    ],
)
def test_what_a_models_own_code_raises_is_its_own(
    theirs: Any, data: Dataset, tmp_path: Path, name: str, error: type[Exception], frame: str
) -> None:
    with pytest.raises(error) as caught:
        try_out(getattr(theirs, name)(), data)
    told = failure(caught.value, str(tmp_path))
    assert told["type"] == error.__name__
    assert told["user_frames"] == 1
    assert frame in told["frames"][0]


def test_a_model_is_left_as_it_was(data: Dataset) -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(0.5), nn.Linear(64, 4))
    before = torch.get_rng_state()
    try_out(model, data)
    assert model.training and model[1].num_batches_tracked == 0
    assert torch.equal(torch.get_rng_state(), before)
