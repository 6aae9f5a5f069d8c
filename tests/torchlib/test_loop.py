"""The training loop: exact averages, whatever the portions; the same numbers twice; its reports."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from training import make_model, series, train, weights

from runner.errors import TaskError
from runner.model import Metric, Progress
from runner.torchlib import loop
from runner.torchlib.batches import Batching, derive_seed, epoch_order, epoch_windows
from runner.torchlib.data import Dataset
from runner.torchlib.engine import Single
from runner.torchlib.objectives import CrossEntropy
from runner.torchlib.optimizers import make_optimizer
from runner.torchlib.schedules import make_schedule


def first(data: Dataset, samples: int) -> Dataset:
    return replace(
        data,
        train_inputs=data.train_inputs[:samples],
        train_targets=data.train_targets[:samples],
    )


def test_a_model_learns(digits: Dataset) -> None:
    model = make_model(digits, hidden=[64])
    events = train(model, digits, epochs=8)
    losses = [value for _, value in series(events, "train/loss")]
    assert losses[0] > 1.5 > 0.2 > losses[-1]
    assert series(events, "test/accuracy")[-1][1] > 0.95


def test_a_language_model_learns(text: Dataset) -> None:
    model = make_model(text, "gpt", dim=32, depth=1, heads=2)
    events = train(model, text, epochs=4, batch=16, learning_rate=5e-3)
    losses = [value for _, value in series(events, "test/loss")]
    # From a little more than the uniform distribution over bytes to well below that of ASCII.
    assert math.log(96) > losses[0] > losses[-1]
    assert losses[-1] < 3.2


@pytest.mark.parametrize("micro", [None, 1, 7, 16, 60, 61])
def test_portions_change_nothing_but_rounding(digits: Dataset, micro: int | None) -> None:
    """143 samples in windows of 60: the last window has 23, its last portion may be shorter."""
    few = first(digits, 143)
    model = make_model(few, hidden=[16]).double()
    few = replace(few, train_inputs=few.train_inputs.double())
    few = replace(few, test_inputs=few.test_inputs.double())
    reference = copy.deepcopy(model)
    train(
        model,
        few,
        epochs=2,
        batch=60,
        optimizer="sgd",
        learning_rate=0.1,
        micro_batch_size=micro,
    )
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(2):
        for indices in epoch_order(143, seed=0, epoch=epoch).split(60):
            loss = functional.cross_entropy(
                reference(few.train_inputs[indices]), few.train_targets[indices]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert torch.allclose(weights(model), weights(reference), rtol=0, atol=1e-12)


@pytest.mark.parametrize("micro", [None, 3])
def test_portions_of_text_average_over_bytes(text: Dataset, micro: int | None) -> None:
    few = first(text, 21)
    model = make_model(few, "gpt", dim=16, depth=1, heads=2).double()
    reference = copy.deepcopy(model)
    train(model, few, batch=8, optimizer="sgd", learning_rate=0.1, micro_batch_size=micro)
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9)
    for indices in epoch_order(21, seed=0, epoch=0).split(8):
        logits = reference(few.train_inputs[indices]).flatten(0, 1)
        loss = functional.cross_entropy(logits, few.train_targets[indices].long().flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.allclose(weights(model), weights(reference), rtol=0, atol=1e-12)


def test_every_sample_once_an_epoch_in_another_order() -> None:
    rows = torch.arange(10.0)[:, None]

    def seen(seed: int, epoch: int) -> list[list[float]]:
        windows = epoch_windows(
            (rows, rows),
            batching=Batching(global_batch_size=4, micro_batch_size=3),
            seed=seed,
            epoch=epoch,
            device="cpu",
            layout=torch.contiguous_format,
        )
        return [
            portion.columns[0].flatten().tolist()
            for window in windows
            for portion in window.portions
        ]

    assert [len(batch) for batch in seen(0, 0)] == [3, 1, 3, 1, 2]
    assert sorted(row for batch in seen(0, 0) for row in batch) == list(range(10))
    assert seen(0, 0) == seen(0, 0)
    assert seen(0, 0) != seen(0, 1)
    assert seen(1, 0) != seen(0, 1)


def test_large_data_is_gathered_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    from runner.torchlib import batches

    rows = torch.arange(50.0)[:, None]

    def seen() -> list[list[float]]:
        windows = epoch_windows(
            (rows, rows),
            batching=Batching(global_batch_size=8, micro_batch_size=8),
            seed=0,
            epoch=0,
            device="cpu",
            layout=torch.contiguous_format,
        )
        return [
            portion.columns[0].flatten().tolist()
            for window in windows
            for portion in window.portions
        ]

    at_once = seen()
    # Room for two and a half windows of 8 x 2 x 4 bytes.
    monkeypatch.setattr(batches, "_PIECE_BYTES", 160)
    assert seen() == at_once


def test_seeds_of_different_uses_differ() -> None:
    uses = [(seed, use, i) for seed in range(20) for use in ("order", "model") for i in range(20)]
    assert len({derive_seed(*use) for use in uses}) == len(uses)


@pytest.mark.parametrize("name", ["mlp", "convnet", "vit"])
def test_same_seed_same_bits(digits: Dataset, name: str) -> None:
    args = {"mlp": {"hidden": [32]}, "convnet": {"channels": [4, 8], "hidden": 0}, "vit": {}}[name]

    def run(seed: int) -> tuple[Tensor, list[Metric | Progress]]:
        model = make_model(digits, name, seed=seed, dropout=0.2, **args)
        events = train(model, digits, max_steps=30, seed=seed, max_grad_norm=1.0)
        return weights(model), [e for e in events if isinstance(e, Metric) and e.step is not None]

    one, two, other = run(3), run(3), run(4)
    assert torch.equal(one[0], two[0]) and one[1] == two[1]
    assert not torch.equal(one[0], other[0])


def test_content_does_not_depend_on_how_fast_it_is_read(digits: Dataset) -> None:
    def run(pause_s: float) -> list[Metric]:
        model = make_model(digits, hidden=[8])
        optimizer = make_optimizer(model.parameters())
        events = loop.fit(
            Single(model),
            digits,
            objective=CrossEntropy(),
            optimizer=optimizer,
            schedule=make_schedule(optimizer, total_steps=40),
            global_batch_size=64,
        )
        kept = []
        for event in events:
            time.sleep(pause_s)
            if isinstance(event, Metric) and event.step is not None:
                kept.append(event)
        return kept

    assert run(0.0) == run(0.02)


def test_points_cover_every_step_and_are_few(digits: Dataset) -> None:
    model = make_model(digits, hidden=[4])
    events = train(model, first(digits, 50), epochs=450, batch=50)
    points = series(events, "train/loss")
    assert [step for step, _ in points] == list(range(3, 451, 3))
    evaluations = series(events, "test/loss")
    assert [step for step, _ in evaluations] == list(range(9, 451, 9))


def test_a_point_is_the_mean_since_the_last(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = first(digits, 70)
    each = series(train(make_model(few, hidden=[4]), few, epochs=2, batch=32), "train/loss")
    monkeypatch.setattr(loop, "_MAX_POINTS", 2)
    means = series(train(make_model(few, hidden=[4]), few, epochs=2, batch=32), "train/loss")
    sizes = [32, 32, 6]
    expected = sum(s * value for s, (_, value) in zip(sizes, each[:3], strict=True)) / 70
    assert [step for step, _ in means] == [3, 6]
    assert means[0][1] == pytest.approx(expected, rel=1e-6)


def test_what_is_told_once(digits: Dataset) -> None:
    started = time.time()
    events = train(make_model(digits, hidden=[8]), digits, epochs=3, ready_at_s=started - 100)
    names = [e.name for e in events if isinstance(e, Metric) and e.step is None]
    assert names == ["time/first_step_s", "train/samples_per_s", "train/step_ms"]
    (_, first_step_s), *_ = series(events, "time/first_step_s")
    assert 100 < first_step_s < 100 + time.time() - started
    (_, rate), *_ = series(events, "train/samples_per_s")
    (_, step_ms), *_ = series(events, "train/step_ms")
    # 23 steps an epoch for 1,437 samples; the first step of all is left out of both.
    assert rate * step_ms * 68 / 1e3 == pytest.approx(3 * 1437 - 64)


def test_a_single_step(digits: Dataset) -> None:
    events = train(make_model(digits, hidden=[8]), digits, max_steps=1)
    assert [step for step, _ in series(events, "train/loss")] == [1]
    assert [step for step, _ in series(events, "test/loss")] == [1]
    assert series(events, "train/step_ms")[0][1] > 0


def test_progress_comes_by_time(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    from runner.torchlib import stopwatch

    assert not any(isinstance(e, Progress) for e in train(make_model(digits), digits, max_steps=3))
    monkeypatch.setattr(stopwatch, "_PROGRESS_INTERVAL_S", 0.0)
    events = train(make_model(digits), digits, max_steps=46)
    seen = [e for e in events if isinstance(e, Progress)]
    assert [e.step for e in seen] == list(range(1, 47))
    assert seen[22].epoch == 1.0 and seen[-1].total_steps == 46
    assert all(e.loss is not None and math.isfinite(e.loss) for e in seen)


def test_clipping_bounds_the_step(digits: Dataset) -> None:
    def moved(max_grad_norm: float | None) -> float:
        model = make_model(digits, hidden=[8])
        before = weights(model)
        settings = {"optimizer": "sgd", "learning_rate": 1.0, "max_grad_norm": max_grad_norm}
        train(model, digits, max_steps=1, **settings)  # type: ignore[arg-type]
        return (weights(model) - before).norm().item()

    assert moved(0.01) == pytest.approx(0.01, rel=1e-3)
    assert moved(None) > 0.1


def test_a_loss_that_is_not_finite_names_its_step(digits: Dataset) -> None:
    poisoned = digits.train_inputs.clone()
    poisoned[epoch_order(len(poisoned), seed=0, epoch=0)[64 * 4 + 10]] = math.inf
    bad = replace(digits, train_inputs=poisoned)
    with pytest.raises(TaskError, match="the loss was nan in step 5") as caught:
        train(make_model(digits, hidden=[8]), bad, epochs=60)
    assert "learning rate" in caught.value.hint


def test_weights_that_burst_in_the_last_step(digits: Dataset) -> None:
    with pytest.raises(TaskError, match=r"held-out data was (nan|inf) after step 1"):
        train(
            make_model(digits, hidden=[8]),
            digits,
            max_steps=1,
            optimizer="sgd",
            learning_rate=1e38,
        )


def test_outputs_that_do_not_fit_the_data(digits: Dataset) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
    with pytest.raises(TaskError, match=r"gave shape \(64, 7\) .* must have shape \(64, 10\)"):
        train(model, digits, max_steps=1)


def test_frozen_parameters_stay(digits: Dataset) -> None:
    model = make_model(digits, hidden=[8])
    frozen = next(model.parameters()).requires_grad_(False)
    before = frozen.clone()
    train(model, digits, max_steps=5)
    assert torch.equal(frozen, before)


def test_label_smoothing_is_the_mixture(digits: Dataset) -> None:
    logits, targets = torch.randn(9, 10), torch.arange(9)
    smoothed = CrossEntropy(label_smoothing=0.3)(logits, logits, targets, ())
    log_p = logits.log_softmax(1)
    expected = -(0.7 * log_p[range(9), targets] + 0.03 * log_p.sum(1)).sum()
    assert torch.allclose(smoothed, expected)


@dataclass(frozen=True)
class Weighted:
    """An objective with a column of its own: a weight a sample."""

    columns: tuple[Tensor, ...]

    def __call__(
        self, logits: Tensor, inputs: Tensor, targets: Tensor, columns: tuple[Tensor, ...]
    ) -> Tensor:
        losses = functional.cross_entropy(logits, targets, reduction="none")
        return (losses * columns[0]).sum()


def test_columns_of_an_objective_go_with_their_samples(digits: Dataset) -> None:
    """Weight 0 for every sample of one class: its logit is then only ever pushed down."""
    kept = (digits.train_targets != 3).float()
    model = make_model(digits, hidden=[32])
    train(model, digits, epochs=5, objective=Weighted((kept,)))
    held_out = model(digits.test_inputs).argmax(1)
    assert not (held_out == 3).any()
    others = digits.test_targets != 3
    assert (held_out == digits.test_targets)[others].float().mean() > 0.9
