"""Steps of a training and of an evaluation as functions that XLA compiles, on one device or many.

The batch lies on the devices in parts and the model on each, and XLA adds up what the gradient
needs: a step is written as if there were one device (keras.io, "Distributed training with JAX").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import jax
import numpy as np
from jax import numpy as jnp

from runner.data.classes import Array
from runner.data.dataset import Dataset
from runner.tflib.objectives import Objective, cross_entropy
from runner.tflib.on_jax.feeding import held_out_batches, training_batches
from runner.tflib.on_jax.strategy import DataParallel
from runner.tflib.optimizers import decayed
from runner.tflib.portions import Portions, evaluation_rows

Values: TypeAlias = list[Any]
State: TypeAlias = tuple[Values, Values, Values]
"""The values of a model's trained variables, of its others, and of the optimizer's."""


class Steps:
    """Optimizer steps of ``model``, each over a batch of ``portions``; the gradient is that of the
    mean loss over the batch's samples by ``objective``, however it is divided.

    ``l2`` is weight decay as a term of the gradient. The model's and the optimizer's variables are
    up to date between calls.
    """

    def __init__(
        self,
        strategy: DataParallel,
        model: Any,
        optimizer: Any,
        portions: Portions,
        *,
        objective: Objective,
        max_grad_norm: float | None = None,
        l2: float = 0.0,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._portions = portions
        self._objective = objective
        self._max_grad_norm = max_grad_norm
        trained = model.trainable_variables
        self._groups = (trained, model.non_trainable_variables, optimizer.variables)
        chosen = {id(variable) for variable in decayed(trained)}
        self._decay = [l2 if id(variable) in chosen else 0.0 for variable in trained]
        self._batches: Iterator[tuple[Array, ...]] = iter(())
        self._layout = strategy.dealt(axis=1)
        self._everywhere = strategy.everywhere()
        self._step = jax.jit(self._advance, donate_argnums=0, out_shardings=self._everywhere)

    def feed(self, data: Dataset, *, seed: int, first_step: int, total_steps: int) -> None:
        """Begins to take batches from ``data``."""
        self._batches = training_batches(
            data,
            self._portions,
            seed=seed,
            first_step=first_step,
            columns=self._objective.columns,
        )
        # Laid out as a step leaves them, or the second step would be compiled anew.
        self._put_back(jax.device_put(self._state(), self._everywhere))

    def run(self, count: int) -> Array:
        """The losses of the next ``count`` steps, each the mean over its samples' targets."""
        state = self._state()
        losses = []
        for _ in range(count):
            # A step is computed while the next one's batch is gathered.
            batch = jax.device_put(next(self._batches), self._layout)
            state, loss = self._step(state, *batch)
            losses.append(loss)
        self._put_back(state)
        return np.array(jax.device_get(losses), dtype=np.float32)

    def _state(self) -> State:
        trained, others, of_optimizer = (
            [variable.value for variable in group] for group in self._groups
        )
        return trained, others, of_optimizer

    def _put_back(self, state: State) -> None:
        for group, values in zip(self._groups, state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)

    def mean(self, value: float) -> float:
        """The value: one process drives all devices."""
        return value

    def _advance(
        self, state: State, inputs: Any, targets: Any, weights: Any, *columns: Any
    ) -> tuple[State, Any]:
        """The state after one step, and the step's loss."""
        trained, others, of_optimizer = state
        total, sums = jnp.zeros(()), [jnp.zeros_like(value) for value in trained]
        for number in range(self._portions.passes):
            beside = tuple(column[number] for column in columns)
            batch = (inputs[number], targets[number], weights[number], beside)
            (loss, others), gradients = jax.value_and_grad(self._loss, has_aux=True)(
                trained, others, *batch
            )
            sums = [a + b for a, b in zip(sums, gradients, strict=True)]
            total += loss
        sums = [
            each + decay * value if decay else each
            for each, decay, value in zip(sums, self._decay, trained, strict=True)
        ]
        if self._max_grad_norm is not None:
            norm = jnp.sqrt(sum(jnp.sum(jnp.square(each)) for each in sums))
            sums = [each * (self._max_grad_norm / jnp.maximum(norm, self._max_grad_norm))
                    for each in sums]  # fmt: skip
        trained, of_optimizer = self._optimizer.stateless_apply(of_optimizer, sums, trained)
        return (trained, others, of_optimizer), total

    def _loss(
        self,
        trained: Values,
        others: Values,
        inputs: Any,
        targets: Any,
        weights: Any,
        columns: tuple[Any, ...],
    ) -> tuple[Any, Values]:
        logits, others = self._model.stateless_call(trained, others, inputs, training=True)
        losses = self._objective(logits, inputs, targets, columns)
        return jnp.sum(losses * weights), others


class Scores:
    """The mean loss and the accuracy of ``model`` on held-out data."""

    def __init__(self, strategy: DataParallel, model: Any, data: Dataset) -> None:
        self._model = model
        self._data = data
        targets = data.test_targets[0].size
        self._count = len(data.test_targets) * targets
        replicas = strategy.num_replicas_in_sync
        self._size = replicas * evaluation_rows(len(data.test_targets), targets, replicas)
        self._layout = strategy.dealt()
        self._score = jax.jit(self._sums, out_shardings=strategy.everywhere())

    def score(self) -> tuple[float, float]:
        """Mean cross-entropy in nats, and the part of targets whose class has the highest logit."""
        values = (
            [variable.value for variable in self._model.trainable_variables],
            [variable.value for variable in self._model.non_trainable_variables],
        )
        sums = [
            self._score(*values, *jax.device_put(batch, self._layout))
            for batch in held_out_batches(self._data, size=self._size)
        ]
        loss, correct = np.array(jax.device_get(sums), dtype=np.float64).sum(0)
        return float(loss) / self._count, float(correct) / self._count

    def _sums(
        self, trained: Values, others: Values, inputs: Any, targets: Any, weights: Any
    ) -> tuple[Any, Any]:
        logits, _ = self._model.stateless_call(trained, others, inputs, training=False)
        loss = jnp.sum(cross_entropy(logits, targets) * weights) * targets[0].size
        hits = (jnp.argmax(logits, -1) == targets).reshape(len(weights), -1)
        return loss, jnp.sum(jnp.sum(hits.astype(jnp.float32), 1) * weights)
