"""The largest batch that fits, and what happens when one does not fit any more."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from training import make_model, weights

from runner.errors import OutOfMemory, TaskError
from runner.model import Metric
from runner.torchlib.batch_size import Backward, find_batch_size, largest
from runner.torchlib.batches import Portion
from runner.torchlib.data import Dataset
from runner.torchlib.engine import Single
from runner.torchlib.loop import fit
from runner.torchlib.objectives import CrossEntropy, Objective
from runner.torchlib.optimizers import make_optimizer
from runner.torchlib.schedules import make_schedule


class Small(Single):
    """A device that has memory for so many samples at once and no more."""

    room = 0

    def backward(
        self, portions: list[Portion], objective: Objective, targets_in_window: int, classes: int
    ) -> list[Tensor]:
        done: list[Tensor] = []
        for portion in portions:
            if len(portion.columns[0]) > self.room:
                raise torch.OutOfMemoryError("no room")
            done += super().backward([portion], objective, targets_in_window, classes)
        return done


@given(st.sets(st.integers(1, 5000), min_size=1), st.integers(0, 6000))
def test_the_largest_that_fits_is_found_in_few_tries(found: set[int], room: int) -> None:
    candidates = sorted(found)
    tried: list[int] = []

    def fits(count: int) -> bool:
        tried.append(count)
        return count <= room

    expected = max((count for count in candidates if count <= room), default=None)
    assert largest(candidates, fits) == expected
    assert len(tried) == len(set(tried)) <= 30


@pytest.mark.parametrize(("room", "expected"), [(1000, 96), (95, 48), (40, 32), (1, 1)])
def test_it_divides_and_leaves_the_model_as_it_was(
    digits: Dataset, room: int, expected: int
) -> None:
    model = make_model(digits, "convnet", channels=[4], hidden=0, pool_every=1)
    before = copy.deepcopy(model.state_dict())
    engine = Small(model)
    engine.room = room
    assert find_batch_size(engine, digits, CrossEntropy(), most=96) == expected
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_no_room_for_one_sample(digits: Dataset) -> None:
    with pytest.raises(TaskError, match="not even one sample fits"):
        find_batch_size(Small(make_model(digits)), digits, CrossEntropy(), most=8)


@pytest.mark.parametrize("room", [64, 32, 20, 3])
def test_a_window_that_does_not_fit_is_cut_and_means_the_same(digits: Dataset, room: int) -> None:
    portion = Portion((digits.train_inputs[:64], digits.train_targets[:64]), 64)
    whole, small = (Single(make_model(digits, hidden=[8])), Small(make_model(digits, hidden=[8])))
    small.room = room
    Backward(whole)([portion], CrossEntropy(), 64, 10)
    backward = Backward(small)
    losses = backward([portion], CrossEntropy(), 64, 10)
    assert backward.parts == {64: 1, 32: 2, 20: 4, 3: 32}[room]
    assert len(losses) == backward.parts
    for ours, theirs in zip(small.parameters(), whole.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-6)
    assert weights(whole.model).equal(weights(small.model))


def test_one_sample_too_many(digits: Dataset) -> None:
    portion = Portion((digits.train_inputs[:4], digits.train_targets[:4]), 4)
    with pytest.raises(TaskError, match="ran out of memory with 1 sample at once"):
        Backward(Small(make_model(digits)))([portion], CrossEntropy(), 4, 10)


def test_a_rank_of_several_says_how_many_it_tried(digits: Dataset) -> None:
    engine = Small(make_model(digits))
    engine.is_alone = False
    portion = Portion((digits.train_inputs[:16], digits.train_targets[:16]), 16)
    with pytest.raises(OutOfMemory, match="ran out of memory with 16 samples at once") as raised:
        Backward(engine)([portion], CrossEntropy(), 16, 10)
    assert raised.value.rows == 16


def test_what_it_came_down_to_is_told(digits: Dataset) -> None:
    engine = Small(make_model(digits, hidden=[8]))
    engine.room = 20
    optimizer = make_optimizer(engine.parameters())
    events = fit(
        engine,
        digits,
        objective=CrossEntropy(),
        optimizer=optimizer,
        schedule=make_schedule(optimizer, total_steps=2),
        global_batch_size=64,
    )
    assert Metric(name="train/per_device_batch_size", value=16) in list(events)
