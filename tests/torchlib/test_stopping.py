"""Early stopping: when it ends, and that the best weights are what remains."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from training import make_model, series, train, weights

from runner.torchlib.data import Dataset
from runner.torchlib.engine import Single
from runner.torchlib.measure import Score, evaluate
from runner.torchlib.stopping import EarlyStopping


def seen(values: list[float], **settings: Any) -> tuple[int | None, float]:
    """After which evaluation it stops, and the step of the best."""
    model = torch.nn.Linear(1, 1)
    stopping = EarlyStopping(Single(model), **settings)
    over = None
    for step, value in enumerate(values, start=1):
        if stopping.see(Score(loss=value, accuracy=value), step):
            over = step
            break
    (best, *_) = stopping.end(step, 1)
    return over, best.value


@pytest.mark.parametrize(
    ("values", "settings", "expected"),
    [
        ([3, 2, 1, 0], {"patience": 1}, (None, 4)),
        ([3, 2, 2.5, 1, 1.5, 1.25, 1.5], {"patience": 2}, (6, 4)),
        ([1, 1, 1], {"patience": 2}, (3, 1)),
        ([1.0, 0.95, 0.9, 0.85], {"patience": 3, "min_delta": 0.1}, (None, 4)),
        ([1.0, 0.95, 0.9, 0.75], {"patience": 2, "min_delta": 0.2}, (3, 1)),
        ([0.1, 0.2, 0.15, 0.19], {"patience": 2, "metric": "test/accuracy"}, (4, 2)),
    ],
)
def test_when_it_is_time(
    values: list[float], settings: dict[str, Any], expected: tuple[int | None, int]
) -> None:
    assert seen(values, **{"metric": "test/loss", **settings}) == expected


@pytest.mark.parametrize("ema", [None, 0.9])
def test_the_best_weights_remain(digits: Dataset, ema: float | None) -> None:
    """A learning rate with which the loss soon goes up and down."""
    model = make_model(digits, hidden=[16])
    events = train(
        model,
        digits,
        epochs=40,
        learning_rate=0.1,
        ema=ema,
        stopping={"patience": 3, "metric": "test/loss"},
    )
    losses = series(events, "test/loss")
    best_step, best = min(losses, key=lambda point: point[1])
    assert series(events, "train/best_step") == [(None, best_step)]
    stopped_at = losses[-1][0]
    assert series(events, "train/stopped_at_step") == [(None, stopped_at)]
    assert best_step is not None and stopped_at is not None
    assert stopped_at == best_step + 3 * 23 < 40 * 23, "23 steps an epoch"
    assert evaluate(model, digits, device="cpu").loss == best < losses[-1][1]


def test_a_training_that_gets_better_runs_to_its_end(digits: Dataset) -> None:
    model, plain = (make_model(digits, hidden=[16]) for _ in range(2))
    settings: dict[str, Any] = {"epochs": 3, "learning_rate": 1e-3}
    events = train(model, digits, stopping={"patience": 1, "metric": "test/loss"}, **settings)
    train(plain, digits, **settings)
    assert series(events, "train/best_step") == [(None, 69)]
    assert series(events, "train/stopped_at_step") == []
    assert torch.equal(weights(model), weights(plain))
