"""Checkpoints of one process: a training that was given up goes on as if it never had been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from training import make_model, series, train

from runner.errors import TaskError
from runner.torchlib.augmentation import Augmentation
from runner.torchlib.data import Dataset

# 29 steps: an epoch has 23, and the checkpoint of step 24 holds what its evaluation found.
LENGTH: dict[str, Any] = {"max_steps": 29, "learning_rate": 0.1}
TECHNIQUES: dict[str, dict[str, Any]] = {
    "plain": {},
    "ema": {"ema": 0.9},
    "stopping": {"stopping": {"patience": 2, "metric": "test/loss"}},
    "augment": {"augmentation": Augmentation(flip=True, crop=1, cutout=2)},
    "all": {
        "ema": 0.99,
        "stopping": {"patience": 2, "metric": "test/accuracy"},
        "augmentation": Augmentation(crop=2),
        "precision": "fp16-mixed",
    },
}


@pytest.mark.parametrize("name", TECHNIQUES)
@pytest.mark.parametrize("stop_after", [8, 25])
def test_to_the_last_bit(digits: Dataset, tmp_path: Path, name: str, stop_after: int) -> None:
    def run(**settings: Any) -> tuple[list[Any], dict[str, torch.Tensor]]:
        model = make_model(digits, "convnet", channels=[4], hidden=0, pool_every=1, dropout=0.2)
        events = train(model, digits, **LENGTH, **TECHNIQUES[name], **settings)
        return events, model.state_dict()

    whole, expected = run()
    run(checkpoints=tmp_path, stop_after=stop_after)
    resumed, found = run(checkpoints=tmp_path)
    ((_, at),) = series(resumed, "checkpoint/resumed_at_step")
    assert at == stop_after // 3 * 3
    assert series(resumed, "train/loss") == series(whole, "train/loss")[int(at) :]
    for metric in ("test/loss", "test/accuracy"):
        since = [point for point in series(whole, metric) if (point[0] or 0) > at]
        assert series(resumed, metric) == since
    for metric in ("train/best_step", "train/stopped_at_step", "train/skipped_steps"):
        assert series(resumed, metric) == series(whole, metric)
    for key, value in expected.items():
        assert torch.equal(value, found[key]), key


def test_patience_goes_on_where_it_was(digits: Dataset, tmp_path: Path) -> None:
    """One step an epoch, and no gain is large enough: it ends with the fifth."""
    settings: dict[str, Any] = {
        "epochs": 12,
        "batch": 1437,
        "stopping": {"patience": 4, "metric": "test/loss", "min_delta": 100.0},
        "checkpoints": tmp_path,
    }
    train(make_model(digits, hidden=[8]), digits, stop_after=4, **settings)
    resumed = train(make_model(digits, hidden=[8]), digits, **settings)
    assert series(resumed, "checkpoint/resumed_at_step") == [(None, 3)]
    assert series(resumed, "train/stopped_at_step") == [(None, 5)]
    assert series(resumed, "train/best_step") == [(None, 1)]


def test_a_checkpoint_without_the_average(digits: Dataset, tmp_path: Path) -> None:
    train(make_model(digits, hidden=[8]), digits, max_steps=4, checkpoints=tmp_path)
    with pytest.raises(TaskError, match="is not of this training"):
        train(make_model(digits, hidden=[8]), digits, max_steps=8, checkpoints=tmp_path, ema=0.9)
