"""Distillation: the loss against NumPy in float64, the teacher untouched, the cache the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from training import make_model, series, train, weights

from runner.data.models import ModelSpec
from runner.errors import TaskError
from runner.torchlib import distillation
from runner.torchlib.artifact import LoadedModel
from runner.torchlib.augmentation import Augmentation
from runner.torchlib.data import Dataset, origin_of
from runner.torchlib.distillation import Distillation, make_objective, teacher_logits
from runner.torchlib.objectives import CrossEntropy

Float64 = NDArray[np.float64]


def softmax(logits: Float64) -> Float64:
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def in_numpy(
    student: Float64, teacher: Float64, targets: NDArray[np.int64], t: float, alpha: float
) -> float:
    """Hinton, Vinyals and Dean 2015, section 2, term by term."""
    p, q = softmax(teacher / t), softmax(student / t)
    soft = (p * (np.log(p) - np.log(q))).sum()
    hard = -np.log(np.take_along_axis(softmax(student), targets[..., None], -1)).sum()
    return float(alpha * t**2 * soft + (1 - alpha) * hard)


@pytest.mark.parametrize("shape", [(7, 10), (3, 5, 11)])
@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 0.5), (3.0, 0.7), (8.0, 1.0), (2.0, 0.0)])
def test_loss(shape: tuple[int, ...], temperature: float, alpha: float) -> None:
    random = np.random.RandomState(0)
    student, teacher = 3 * random.randn(*shape), 3 * random.randn(*shape)
    targets = random.randint(0, shape[-1], shape[:-1])
    objective = Distillation(
        temperature=temperature, alpha=alpha, columns=(torch.from_numpy(teacher),)
    )
    logits = torch.from_numpy(student).requires_grad_()
    loss = objective(logits, logits, torch.from_numpy(targets), objective.columns)
    expected = in_numpy(student, teacher, targets, temperature, alpha)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    # Its gradient: alpha T (q - p) + (1 - alpha) (softmax - one-hot).
    (gradient,) = torch.autograd.grad(loss, logits)
    soft = softmax(student / temperature) - softmax(teacher / temperature)
    hard = softmax(student) - np.eye(shape[-1])[targets]
    expected_gradient = alpha * temperature * soft + (1 - alpha) * hard
    assert np.allclose(gradient.numpy(), expected_gradient, atol=1e-12)


def test_extremes() -> None:
    logits, targets = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    own = Distillation(temperature=4.0, alpha=1.0)
    assert own(logits, logits, targets, (logits,)).item() == pytest.approx(0.0, abs=1e-5)
    hard = Distillation(temperature=4.0, alpha=0.0)
    plain = CrossEntropy()(logits, logits, targets, ())
    assert torch.equal(hard(logits, logits, targets, (torch.randn(6, 4),)), plain)
    # Confident logits: no class of either underflows into a NaN.
    sure = torch.tensor([[1e4, 0.0, -1e4]])
    assert own(sure, sure, torch.tensor([0]), (sure.flip(1),)).isfinite()


def as_loaded(model: nn.Module, data: Dataset) -> LoadedModel:
    return LoadedModel(
        model=model,
        spec=ModelSpec(name="mlp"),
        task=data.task,
        input_shape=data.input_shape,
        input_dtype="float32",
        classes=data.classes,
        preprocessing=data.preprocessing,
        trained_on=origin_of(data),
    )


def taught(data: Dataset, teacher: nn.Module, cache: str, **args: object) -> tuple[Tensor, list]:  # type: ignore[type-arg]
    objective = make_objective(
        as_loaded(teacher, data),
        data,
        temperature=3.0,
        alpha=0.7,
        cache=cache,  # type: ignore[arg-type]
    )
    name = "gpt" if data.task == "language" else "mlp"
    student = make_model(data, name, **args)
    events = train(student, data, max_steps=20, objective=objective, batch=32)
    return weights(student), series(events, "train/loss")


def test_cached_logits_are_those_of_the_live_teacher(digits: Dataset) -> None:
    teacher = make_model(digits, "convnet", channels=[4, 8], hidden=16, dropout=0.5, seed=1)
    train(teacher, digits, max_steps=20)
    cached, cached_losses = taught(digits, teacher, "always", hidden=[8])
    live, live_losses = taught(digits, teacher, "never", hidden=[8])
    assert torch.allclose(cached, live, atol=1e-4)
    for (_, one), (_, two) in zip(cached_losses, live_losses, strict=True):
        assert one == pytest.approx(two, rel=1e-4)
    plain = make_model(digits, hidden=[8])
    train(plain, digits, max_steps=20, batch=32)
    assert not torch.allclose(weights(plain), live, atol=1e-2), "the teacher matters"


def test_text_is_distilled_byte_by_byte(text: Dataset) -> None:
    teacher = make_model(text, "gpt", dim=32, depth=1, heads=2, seed=1)
    train(teacher, text, max_steps=10)
    cached, losses = taught(text, teacher, "auto", dim=16, depth=1, heads=2)
    live, _ = taught(text, teacher, "never", dim=16, depth=1, heads=2)
    assert torch.allclose(cached, live, atol=1e-4)
    assert losses[-1][1] < losses[0][1]


@pytest.mark.parametrize("cache", ["always", "never"])
def test_teacher_is_left_as_it_is(digits: Dataset, cache: str) -> None:
    teacher = make_model(digits, "convnet", channels=[4], hidden=0, dropout=0.5).train()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    taught(digits, teacher, cache, hidden=[8])
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not teacher.training


def test_what_is_cached(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = as_loaded(make_model(digits), digits)

    def columns(cache: str) -> int:
        objective = make_objective(
            teacher,
            digits,
            temperature=2.0,
            alpha=0.5,
            cache=cache,  # type: ignore[arg-type]
        )
        assert (not objective.teachers) == bool(objective.columns)
        return len(objective.columns)

    assert [columns(cache) for cache in ("auto", "always", "never")] == [1, 1, 0]
    # 1,437 samples of 10 logits of 4 bytes.
    monkeypatch.setattr(distillation, "CACHE_LIMIT_BYTES", 1437 * 40 - 1)
    assert [columns(cache) for cache in ("auto", "always", "never")] == [0, 1, 0]


def test_the_teacher_runs_once_over_each_sample(digits: Dataset) -> None:
    seen = []

    class Counting(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            assert not torch.is_grad_enabled() and not self.training
            seen.append(len(inputs))
            return inputs.flatten(1)[:, :10]

    logits = teacher_logits(Counting().train(), digits.train_inputs, device="cpu")
    assert sum(seen) == 1437
    assert torch.equal(logits, digits.train_inputs.flatten(1)[:, :10])


def test_a_live_teacher_sees_what_the_student_sees(digits: Dataset) -> None:
    teacher, student = (make_model(digits, hidden=[8]) for _ in range(2))
    seen: dict[nn.Module, list[Tensor]] = {teacher: [], student: []}
    for model in seen:
        model.register_forward_pre_hook(lambda model, given: seen[model].append(given[0]))
    objective = make_objective(
        as_loaded(teacher, digits), digits, temperature=2.0, alpha=0.5, cache="never"
    )
    augmentation = Augmentation(crop=2, cutout=3)
    train(student, digits, max_steps=3, objective=objective, augmentation=augmentation)
    # The student is also evaluated.
    pairs = list(zip(seen[teacher], seen[student][:3], strict=True))
    assert len(pairs) == 3
    assert all(torch.equal(one, other) for one, other in pairs)
    assert not torch.isin(
        pairs[0][0].flatten(1).sum(1), digits.train_inputs.flatten(1).sum(1)
    ).all()


def test_teacher_of_other_data(digits: Dataset, text: Dataset) -> None:
    teacher = as_loaded(make_model(digits), digits)
    with pytest.raises(TaskError, match="task classification, this data has task language"):
        make_objective(teacher, text, temperature=2.0, alpha=0.5)
    moved = replace(digits, preprocessing={"mean": [0.0], "std": [1.0]})
    with pytest.raises(TaskError, match="standardised differently"):
        make_objective(teacher, moved, temperature=2.0, alpha=0.5)
