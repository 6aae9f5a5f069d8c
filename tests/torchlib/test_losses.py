"""Points of the loss: what they are, and that no step of a gang waits for their sums."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from runner.errors import TaskError
from runner.torchlib.engine import Single
from runner.torchlib.losses import Losses


class Doubled(Single):
    """Of two ranks that see alike; notes which of the sums have been waited for."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(1, 1))
        self.is_alone = False
        self.begun = 0
        self.waited: list[int] = []

    def summing(self, values: Tensor) -> Callable[[], Tensor]:
        self.begun += 1
        number = self.begun

        def wait() -> Tensor:
            self.waited.append(number)
            return values * 2

        return wait


def run(losses: Losses, first: int, last: int) -> list[tuple[int, float]]:
    """Steps with a loss of their number and two targets each; each is a point."""
    told: list[tuple[int, float]] = []
    for step in range(first, last):
        losses.add(step, [torch.tensor(float(step))], 2)
        losses.close(step + 1)
        told += losses.points(is_last=False)
    return told


def test_alone_every_point_is_told_at_once() -> None:
    losses = Losses(Single(nn.Linear(1, 1)))
    assert run(losses, 1, 4) == [(2, 0.5), (3, 1.0), (4, 1.5)]
    losses.add(4, [torch.tensor(6.0)], 2)
    assert losses.recent() == 3.0


def test_a_gang_waits_for_a_point_with_the_next_one_only() -> None:
    engine = Doubled()
    losses = Losses(engine)
    assert run(losses, 1, 2) == []
    assert (engine.begun, engine.waited) == (1, [])
    assert losses.recent() is None
    assert run(losses, 2, 4) == [(2, 1.0), (3, 2.0)]
    assert (engine.begun, engine.waited) == (3, [1, 2])
    assert losses.recent() == 2.0
    assert list(losses.points(is_last=True)) == [(4, 3.0)]
    assert list(losses.points(is_last=True)) == []


def test_what_is_noted_tells_the_rest_as_if_nothing_had_happened() -> None:
    whole = Losses(Doubled())
    expected = [*run(whole, 1, 6), *whole.points(is_last=True)]
    stopped = Losses(Doubled())
    told = run(stopped, 1, 3)
    stopped.add(3, [torch.tensor(3.0)], 2)
    notes = stopped.notes()
    as_written = json.dumps(notes)
    stopped.close(4)
    list(stopped.points(is_last=True))
    assert json.dumps(notes) == as_written  # nothing that happens later gets into it
    resumed = Losses(Doubled())
    resumed.restore(json.loads(as_written))
    resumed.close(4)
    told += run(resumed, 4, 6)
    assert [*told, *resumed.points(is_last=True)] == expected


def test_a_loss_that_is_not_finite_on_another_rank_is_in_one_of_the_steps() -> None:
    engine = Doubled()
    losses = Losses(engine)
    for step in range(4, 6):
        losses.add(step, [torch.tensor(1.0)], 1)
    engine.summing = lambda values: lambda: values * math.nan  # type: ignore[method-assign]
    losses.close(6)
    with pytest.raises(TaskError, match="the loss was nan in one of the 2 steps to 6"):
        list(losses.points(is_last=True))


@pytest.mark.parametrize("losses", [Losses(Doubled()), Losses(Single(nn.Linear(1, 1)))])
def test_a_loss_that_is_not_finite_is_named_by_its_own_step(losses: Losses) -> None:
    for step, value in enumerate((1.0, math.nan, 2.0)):
        losses.add(step, [torch.tensor(value)], 1)
    losses.close(3)
    with pytest.raises(TaskError, match="the loss was nan in step 2"):
        list(losses.points(is_last=True))
