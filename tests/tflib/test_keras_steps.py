"""Batches hold every sample once an epoch, and a step is what NumPy computes in float64."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from runner.errors import TaskError
from tests.tflib.by_numpy import by_adamw, by_sgd, softmax


def batches(kit: ModuleType, data: Any, portions: Any, **more: Any) -> list[list[Any]]:
    """Whole batches: what each replica takes, one after another."""
    made = kit.feeding.training_batches(data, portions, seed=1, **more)
    each = [[part.numpy() for part in batch] for batch in made]
    count = portions.replicas
    assert len(each) % count == 0
    return [
        [np.concatenate(parts) for parts in zip(*each[first : first + count], strict=True)]
        for first in range(0, len(each), count)
    ]


def numbered(kit: ModuleType, count: int) -> Any:
    """Data whose only feature is the number of its sample."""
    from dataclasses import replace

    data = kit.small(samples=round(count / 0.8), features=3)
    assert len(data.train_inputs) == count
    numbers = np.arange(count, dtype=np.float32)[:, None]
    return replace(data, train_inputs=numbers, input_shape=(1,))


@pytest.mark.parametrize(("samples", "passes", "replicas"), [(10, 1, 1), (7, 2, 2), (32, 1, 4)])
def test_every_sample_counts_once_in_every_epoch(
    kit: ModuleType, samples: int, passes: int, replicas: int
) -> None:
    data = numbered(kit, 32)
    portions = kit.feeding.Portions(samples=samples, passes=passes, replicas=replicas)
    windows = -(-32 // samples)
    made = batches(kit, data, portions, first_step=0, total_steps=2 * windows)
    assert len(made) == 2 * windows
    assert {inputs.shape for inputs, _, _ in made} == {(portions.size, 1)}
    orders = []
    for epoch in (made[:windows], made[windows:]):
        seen = np.concatenate([inputs[weights > 0, 0] for inputs, _, weights in epoch])
        assert sorted(seen) == list(range(32))
        orders.append(seen.tolist())
        for inputs, targets, weights in epoch:
            assert weights.sum() == pytest.approx(1.0, abs=1e-6)
            assert len(set(weights[weights > 0])) == 1
            expected = data.train_targets[inputs[:, 0].astype(int)]
            np.testing.assert_array_equal(targets, expected)
    assert orders[0] != orders[1]


def test_batches_begin_where_a_training_goes_on(kit: ModuleType) -> None:
    data = numbered(kit, 32)
    portions = kit.feeding.Portions(samples=10, passes=1, replicas=1)
    whole = batches(kit, data, portions, first_step=0, total_steps=11)
    rest = batches(kit, data, portions, first_step=6, total_steps=11)
    for ours, theirs in zip(rest, whole[6:], strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)


def test_replicas_take_together_in_each_pass_what_one_device_takes(kit: ModuleType) -> None:
    data = numbered(kit, 32)
    about = {"first_step": 0, "total_steps": 1}
    ((alone, _, _),) = batches(
        kit, data, kit.feeding.Portions(samples=32, passes=4, replicas=1), **about
    )
    ((shared, _, _),) = batches(
        kit, data, kit.feeding.Portions(samples=32, passes=4, replicas=2), **about
    )
    replicas = shared.reshape(2, 4, 4)
    for number, whole in enumerate(alone.reshape(4, 8)):
        assert set(replicas[:, number].ravel()) == set(whole)


@pytest.mark.parametrize("feed", ["on_host", "on_devices"])
@pytest.mark.parametrize("replicas", [1, 4])
def test_each_replica_is_fed_its_part_of_every_batch_in_order(
    kit: ModuleType, replicas: int, feed: str
) -> None:
    import tensorflow as tf

    from runner.tflib import sharing
    from runner.tflib.strategy import Decision, running

    data = numbered(kit, 32)
    portions = kit.feeding.Portions(samples=10, passes=1, replicas=replicas)
    about = {"first_step": 0, "total_steps": 4}
    whole = batches(kit, data, portions, **about)
    kind = "one_device" if replicas == 1 else "mirrored"
    with running(Decision(strategy=kind, replicas=replicas, reason="")) as strategy:  # type: ignore[arg-type]
        following = getattr(sharing, feed)(
            strategy,
            lambda share: kit.feeding.training_batches(
                data, portions, seed=1, share=share, **about
            ),
        )

        @tf.function  # type: ignore[misc]
        def step() -> Any:
            inputs = strategy.run(lambda inputs, *_: inputs, args=following())
            return tf.stack(strategy.experimental_local_results(inputs))

        for number in range(6):  # the fifth is the first again
            expected = whole[number % 4][0].reshape(replicas, -1, 1)
            np.testing.assert_array_equal(step().numpy(), expected)


def test_shares_of_a_batch_make_up_the_whole(kit: ModuleType) -> None:
    from runner.tflib.sharing import Share

    data = numbered(kit, 32)
    portions = kit.feeding.Portions(samples=30, passes=2, replicas=4)
    about: dict[str, Any] = {"seed": 1, "first_step": 1, "total_steps": 4}
    parts = [
        [
            inputs.numpy()
            for inputs, *_ in kit.feeding.training_batches(
                data, portions, share=Share(number=number, count=2), **about
            )
        ]
        for number in range(2)
    ]
    whole = batches(kit, data, portions, **{k: v for k, v in about.items() if k != "seed"})
    assert [len(each) for each in parts] == [2 * len(whole)] * 2
    for step, (expected, *_) in enumerate(whole):
        ours = [part[2 * step + replica] for part in parts for replica in range(2)]
        np.testing.assert_array_equal(np.concatenate(ours), expected)


def linear(kit: ModuleType, data: Any) -> Any:
    return kit.models.build(kit.models.ModelSpec(name="mlp", args={"hidden": []}), data, seed=2)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("clip", [None, 0.3])
def test_steps_of_sgd_are_those_of_numpy(
    kit: ModuleType, smoothing: float, clip: float | None
) -> None:
    data = kit.small()
    start = (each.numpy().astype(np.float64) for each in linear(kit, data).weights)
    losses, after = by_sgd(data, *start, smoothing=smoothing, clip=clip)
    trained = kit.train(
        data,
        model=lambda: linear(kit, data),
        batch=32,
        passes=3,
        replicas=2,
        total_steps=5,
        learning_rate=0.2,
        label_smoothing=smoothing,
        max_grad_norm=clip,
        l2=0.05,
    )
    np.testing.assert_allclose(trained.losses, losses, rtol=1e-5)
    np.testing.assert_allclose(trained.weights, after, atol=1e-5)


def test_steps_of_adamw_are_those_of_numpy(kit: ModuleType) -> None:
    data = kit.small()
    after = by_adamw(data, *(each.numpy().astype(np.float64) for each in linear(kit, data).weights))
    trained = kit.train(
        data,
        model=lambda: linear(kit, data),
        batch=32,
        total_steps=5,
        optimizer="adamw",
        learning_rate=0.02,
        weight_decay=0.1,
        schedule="linear",
    )
    np.testing.assert_allclose(trained.weights, after, atol=1e-5)


def test_scores_are_those_of_numpy_over_all_that_is_held_out(kit: ModuleType) -> None:
    import tensorflow as tf

    data = kit.small(samples=1400)  # 280 held out: two calls, the second filled up
    model = linear(kit, data)
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    loss, accuracy = kit.steps.Scores(strategy, model, data).score()
    weight, bias = (each.numpy().astype(np.float64) for each in model.weights)
    chances = softmax(data.test_inputs.astype(np.float64) @ weight + bias)
    rows = np.arange(len(chances))
    assert loss == pytest.approx(-np.log(chances[rows, data.test_targets]).mean(), rel=1e-5)
    assert accuracy == pytest.approx((chances.argmax(1) == data.test_targets).mean(), abs=1e-9)


def test_a_loss_that_is_not_finite_ends_the_training_and_says_in_which_step(
    kit: ModuleType,
) -> None:
    with pytest.raises(TaskError, match=r"the loss was (nan|inf) in step \d+") as caught:
        kit.train(kit.small(), args={"hidden": [8]}, batch=8, learning_rate=1e30)
    assert "lower the learning rate" in caught.value.hint
