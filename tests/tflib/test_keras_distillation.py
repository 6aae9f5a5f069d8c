"""Distillation of a Keras teacher: the loss and the steps against NumPy in float64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from runner.errors import TaskError
from tests.tflib.by_numpy import softmax


@pytest.mark.parametrize("shape", [(7, 10), (3, 5, 11)])
@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 0.5), (3.0, 0.7), (8.0, 1.0), (2.0, 0.0)])
def test_the_loss_is_that_of_the_paper(
    kit: ModuleType, shape: tuple[int, ...], temperature: float, alpha: float
) -> None:
    # Hinton, Vinyals and Dean 2015, section 2, term by term.
    random = np.random.default_rng(0)
    student, teacher = 3 * random.normal(size=shape), 3 * random.normal(size=shape)
    targets = random.integers(0, shape[-1], shape[:-1])
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    soft = (p * (np.log(p) - np.log(q))).sum(-1)
    hard = -np.log(np.take_along_axis(softmax(student), targets[..., None], -1))[..., 0]
    expected = alpha * temperature**2 * soft + (1 - alpha) * hard
    objective = kit.distillation.Distillation(temperature=temperature, alpha=alpha)
    cached = replace(objective, columns=(teacher,))
    losses = cached(student, None, targets, cached.columns)
    np.testing.assert_allclose(losses, expected.reshape(len(expected), -1).mean(1), rtol=2e-5)


def test_confident_logits_give_no_nan(kit: ModuleType) -> None:
    sure = np.array([[1e4, 0.0, -1e4]], dtype=np.float32)
    own = kit.distillation.Distillation(temperature=4.0, alpha=1.0, columns=(sure[:, ::-1].copy(),))
    assert np.isfinite(own(sure, None, np.array([0]), own.columns).numpy()).all()


def linear(kit: ModuleType, data: Any, seed: int) -> Any:
    return kit.models.build(kit.models.ModelSpec(name="mlp", args={"hidden": []}), data, seed=seed)


@pytest.fixture
def teacher(kit: ModuleType, tmp_path: Path) -> Path:
    """A linear teacher in a folder, with logits large enough to teach something."""
    data = kit.small()
    model = linear(kit, data, seed=7)
    model.set_weights([4.0 * each for each in model.get_weights()])
    spec = kit.models.ModelSpec(name="mlp", args={"hidden": []})
    kit.artifact.save(tmp_path / "teacher", model, spec=spec, dataset=data)
    return tmp_path / "teacher"


def distilled(kit: ModuleType, teacher: Path, cache: str, **more: Any) -> Any:
    data = kit.small()
    return kit.train(
        data,
        model=lambda: linear(kit, data, seed=2),
        objective=lambda strategy: kit.distillation.make_objective(
            teacher,
            data,
            strategy=strategy,
            device="/cpu:0",
            temperature=3.0,
            alpha=0.7,
            cache=cache,
        ),
        batch=32,
        total_steps=5,
        learning_rate=0.2,
        **more,
    )


@pytest.mark.parametrize("cache", ["always", "never"])
@pytest.mark.parametrize(("replicas", "passes"), [(1, 1), (2, 3)])
def test_steps_of_sgd_are_those_of_numpy(
    kit: ModuleType, teacher: Path, cache: str, replicas: int, passes: int
) -> None:
    data = kit.small()
    inputs = data.train_inputs.astype(np.float64)
    goal = np.eye(3)[data.train_targets]
    parts = kit.artifact.load(teacher).model.get_weights()
    soft_goal = softmax((inputs @ parts[0].astype(np.float64) + parts[1]) / 3.0)
    weight, bias = (each.astype(np.float64) for each in linear(kit, data, seed=2).get_weights())
    moved = [np.zeros_like(weight), np.zeros_like(bias)]
    losses = []
    for _ in range(5):
        logits = inputs @ weight + bias
        soft, hard = softmax(logits / 3.0), softmax(logits)
        divergence = (soft_goal * (np.log(soft_goal) - np.log(soft))).sum(1)
        losses.append((0.7 * 9.0 * divergence - 0.3 * (goal * np.log(hard)).sum(1)).mean())
        # alpha T (q - p) + (1 - alpha) (softmax - one-hot)
        wrong = (0.7 * 3.0 * (soft - soft_goal) + 0.3 * (hard - goal)) / len(inputs)
        gradients = [inputs.T @ wrong, wrong.sum(0)]
        moved = [0.9 * v - 0.2 * g for v, g in zip(moved, gradients, strict=True)]
        weight, bias = weight + moved[0], bias + moved[1]
    trained = distilled(kit, teacher, cache, replicas=replicas, passes=passes)
    np.testing.assert_allclose(trained.losses, losses, rtol=1e-5)
    np.testing.assert_allclose(trained.weights, np.append(weight, bias), atol=1e-5)


def test_what_is_cached(kit: ModuleType, teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    data = kit.small()

    def columns(cache: str) -> int:
        objective = kit.distillation.make_objective(
            teacher,
            data,
            strategy=tf.distribute.OneDeviceStrategy("/cpu:0"),
            device="/cpu:0",
            temperature=2.0,
            alpha=0.5,
            cache=cache,
        )
        assert (objective.teacher is None) == bool(objective.columns)
        return len(objective.columns)

    assert [columns(cache) for cache in ("auto", "always", "never")] == [1, 1, 0]
    # 32 samples of 3 logits of 4 bytes.
    monkeypatch.setattr(kit.distillation, "CACHE_LIMIT_BYTES", 32 * 12 - 1)
    assert [columns(cache) for cache in ("auto", "always", "never")] == [0, 1, 0]


def test_cached_logits_are_those_of_the_teacher_in_its_parts(
    kit: ModuleType, teacher: Path
) -> None:
    model = kit.artifact.load(teacher).model
    inputs = np.random.default_rng(0).normal(size=(600, 6)).astype(np.float32)
    logits = kit.distillation.teacher_logits(model, inputs, device="/cpu:0")
    weight, bias = model.get_weights()
    np.testing.assert_allclose(logits, inputs @ weight + bias, atol=1e-5)


def test_a_teacher_of_other_data_is_refused(kit: ModuleType, teacher: Path) -> None:
    def objective(data: Any) -> None:
        kit.distillation.make_objective(
            teacher, data, strategy=None, device="/cpu:0", temperature=2.0, alpha=0.5
        )

    with pytest.raises(TaskError, match="input shape"):
        objective(kit.small(features=9))
    data = kit.small()
    moved = {**data.preprocessing, "mean": [1.0 + mean for mean in data.preprocessing["mean"]]}
    with pytest.raises(TaskError, match="standardised differently"):
        objective(replace(data, preprocessing=moved))
