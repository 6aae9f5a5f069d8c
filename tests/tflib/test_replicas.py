"""Replicas and passes divide a batch, and change nothing: losses and weights are one device's."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from runner.model import Metric

# Of the issue: 20 steps, to 1e-5. 1,437 samples make 14 batches of 100 and one of 37.
STEPS, TOLERANCE = 20, 1e-5
DIVIDED = [(1, 3), (2, 1), (2, 3), (4, 1), (4, 2)]


@pytest.fixture(scope="module")
def alone(kit: ModuleType) -> Any:
    return train(kit, "mlp", 1, 1)


def train(kit: ModuleType, name: str, replicas: int, passes: int, **more: Any) -> Any:
    args = {"mlp": {"hidden": [32]}, "convnet": {"channels": [4], "pool_every": 1, "hidden": 0}}
    settings = {"batch": 100, "optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.01}
    return kit.train(
        kit.digits(),
        name=name,
        args=args[name],
        replicas=replicas,
        passes=passes,
        total_steps=STEPS,
        seed=5,
        **{**settings, **more},
    )


@pytest.mark.parametrize(("replicas", "passes"), DIVIDED)
def test_losses_and_weights_are_those_of_one_device(
    kit: ModuleType, alone: Any, replicas: int, passes: int
) -> None:
    divided = train(kit, "mlp", replicas, passes)
    assert len(alone.losses) == STEPS
    assert alone.losses[0] - alone.losses[-1] > 0.5  # there is something to compare
    np.testing.assert_allclose(divided.losses, alone.losses, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(divided.weights, alone.weights, atol=TOLERANCE, rtol=0)
    for name in ("test/loss", "test/accuracy"):
        ours, theirs = divided.series(name), alone.series(name)
        assert [step for step, _ in ours] == [15, 20]
        np.testing.assert_allclose(ours, theirs, atol=TOLERANCE, rtol=0)


def test_clipped_and_decayed_gradients_are_those_of_one_device(kit: ModuleType) -> None:
    about = {"optimizer": "sgd", "learning_rate": 0.1, "max_grad_norm": 0.5, "l2": 0.01}
    alone = train(kit, "mlp", 1, 1, **about)
    divided = train(kit, "mlp", 2, 2, **about)
    np.testing.assert_allclose(divided.losses, alone.losses, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(divided.weights, alone.weights, atol=TOLERANCE, rtol=0)


def test_a_batch_that_replicas_do_not_divide_is_filled_up_with_what_counts_nothing(
    kit: ModuleType,
) -> None:
    alone = train(kit, "mlp", 1, 1, batch=50)
    divided = train(kit, "mlp", 4, 3, batch=50)  # twelve portions of five, of which ten rows fill
    np.testing.assert_allclose(divided.losses, alone.losses, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(divided.weights, alone.weights, atol=TOLERANCE, rtol=0)


def test_batch_norm_sees_what_all_replicas_see(kit: ModuleType) -> None:
    alone = train(kit, "convnet", 1, 1, optimizer="sgd")
    divided = train(kit, "convnet", 2, 1, optimizer="sgd")
    np.testing.assert_allclose(divided.losses, alone.losses, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(divided.weights, alone.weights, atol=TOLERANCE, rtol=0)


def test_a_seed_gives_the_same_training_and_another_another(kit: ModuleType) -> None:
    about: dict[str, Any] = {
        "name": "mlp",
        "args": {"hidden": [16], "dropout": 0.3},
        "total_steps": 10,
    }
    first, again = (kit.train(kit.digits(), seed=3, **about) for _ in range(2))
    other = kit.train(kit.digits(), seed=4, **about)
    np.testing.assert_array_equal(first.losses, again.losses)
    np.testing.assert_array_equal(first.weights, again.weights)
    assert abs(first.losses - other.losses).max() > 1e-3


def test_what_a_training_tells_is_what_pytorchs_tells(kit: ModuleType) -> None:
    trained = kit.train(kit.small(), args={"hidden": [8]}, batch=10, total_steps=12)
    names = {event.name for event in trained.events if isinstance(event, Metric)}
    assert names == {
        "train/loss", "test/loss", "test/accuracy", "train/samples_per_s", "train/step_ms",
    }  # fmt: skip
    assert [step for step, _ in trained.series("train/loss")] == list(range(1, 13))
    # 32 samples in batches of ten are four steps an epoch.
    assert [step for step, _ in trained.series("test/loss")] == [4, 8, 12]
