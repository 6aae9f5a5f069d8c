"""The moving average beside a float64 computation by its formula; what is evaluated and kept."""

from __future__ import annotations

import pytest
import torch
from training import make_model, series, train, weights

from runner.model import Metric
from runner.torchlib.data import Dataset
from runner.torchlib.engine import Single
from runner.torchlib.loop import fit
from runner.torchlib.measure import evaluate
from runner.torchlib.objectives import CrossEntropy
from runner.torchlib.optimizers import make_optimizer
from runner.torchlib.precision import Precision
from runner.torchlib.schedules import make_schedule
from runner.torchlib.weights import Average, Copy


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.9999])
def test_the_average_of_all_steps(digits: Dataset, decay: float) -> None:
    model = make_model(digits, hidden=[8])
    engine = Single(model)
    optimizer = make_optimizer(model.parameters(), learning_rate=1e-2)
    average = Average(engine, decay=decay)
    expected = weights(model).double()
    for event in fit(
        engine,
        digits,
        objective=CrossEntropy(),
        optimizer=optimizer,
        schedule=make_schedule(optimizer, total_steps=40),
        global_batch_size=64,
        average=average,
    ):
        if isinstance(event, Metric) and event.name == "train/loss":
            assert event.step is not None
            # What the model trains with is not the average.
            step, now = event.step, weights(model).double()
            kept = min(decay, (1 + step) / (10 + step))
            expected = kept * expected + (1 - kept) * now
            assert not torch.allclose(now, expected, atol=1e-4)
    assert step == 40
    assert torch.allclose(weights(model).double(), expected, atol=1e-5)


def test_the_average_is_what_is_evaluated(digits: Dataset) -> None:
    plain, averaged = (make_model(digits, hidden=[16]) for _ in range(2))
    without = train(plain, digits, epochs=2)
    events = train(averaged, digits, epochs=2, ema=0.99)
    assert series(events, "train/loss") == series(without, "train/loss"), "it trains all the same"
    assert series(events, "test/loss") != series(without, "test/loss")
    score = evaluate(averaged, digits, device="cpu")
    assert series(events, "test/loss")[-1][1] == score.loss
    assert series(events, "test/accuracy")[-1][1] == score.accuracy


def test_statistics_of_batch_norm_are_averaged_with_the_weights(digits: Dataset) -> None:
    model = make_model(digits, "convnet", channels=[4], hidden=0, pool_every=1)
    other = make_model(digits, "convnet", channels=[4], hidden=0, pool_every=1)
    train(model, digits, max_steps=12, ema=0.9)
    train(other, digits, max_steps=12)
    last = dict(other.named_buffers())
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, last[name]) == ("num_batches" in name), name


def test_an_average_of_bf16_weights_is_kept_in_fp32(digits: Dataset) -> None:
    model = make_model(digits, hidden=[4])
    engine = Single(model, precision=Precision("bf16-true", "cpu"))
    average = Average(engine, decay=0.999)
    assert {tensor.dtype for tensor in average.tensors().values()} == {torch.float32}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
        before = next(iter(average.tensors().values())).clone()
    for step in range(100_000, 100_010):
        average.update(step)
    moved = next(iter(average.tensors().values()))
    assert torch.allclose(moved, 1 + (before - 1) * 0.999**10, atol=1e-6)
    average.put()
    assert next(model.parameters()).dtype == torch.bfloat16


def test_a_copy_gives_back_what_it_took(text: Dataset) -> None:
    """With a matrix that two layers share, which is copied once."""
    model = make_model(text, "gpt", dim=8, depth=1, heads=1, tied=True)
    copy = Copy(Single(model), "best")
    assert len(copy.tensors()) == len(list(model.parameters()))
    taken = weights(model).clone()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    copy.put()
    assert torch.equal(weights(model), taken)
    with torch.no_grad():
        next(model.parameters()).zero_()
    copy.take()
    assert not next(iter(copy.tensors().values())).any()


def test_frozen_weights_are_not_copied(digits: Dataset) -> None:
    model = make_model(digits, hidden=[8])
    name, frozen = next(iter(model.named_parameters()))
    frozen.requires_grad_(False)
    names = Copy(Single(model), "best").tensors().keys()
    assert names == {f"best.{key}" for key, _ in model.named_parameters() if key != name}
