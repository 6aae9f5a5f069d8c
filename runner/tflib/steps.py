"""Steps of a training and of an evaluation under a strategy, many to one call of TensorFlow.

A call costs as much as the step of a small model, so that several steps are one graph with a loop
on the host, as tensorflow.org's guide to custom training with tf.distribute has it. (Keras's
``steps_per_execution`` does not run on several logical CPUs, nor its optimizers' accumulation under
any strategy.)
"""

from __future__ import annotations

from functools import partial
from typing import Any

import tensorflow as tf

from runner.data.dataset import Dataset
from runner.tflib.feeding import held_out_batches, training_batches
from runner.tflib.objectives import Objective, cross_entropy
from runner.tflib.optimizers import decayed
from runner.tflib.portions import Portions, evaluation_rows
from runner.tflib.sharing import Feed, feed

Batch = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


class Steps:
    """Optimizer steps of ``model``, each over a batch of ``portions``; the gradient is that of the
    mean loss over the batch's samples by ``objective``, however it is divided.

    ``l2`` is weight decay as a term of the gradient.
    """

    def __init__(
        self,
        strategy: Any,
        model: Any,
        optimizer: Any,
        portions: Portions,
        *,
        objective: Objective,
        max_grad_norm: float | None = None,
        l2: float = 0.0,
    ) -> None:
        self._strategy = strategy
        self._model = model
        self._optimizer = optimizer
        self._portions = portions
        self._objective = objective
        self._max_grad_norm = max_grad_norm
        self._l2 = l2
        self._many: Any = None
        self._mean = tf.function(self._mean_of_replicas)

    def feed(self, data: Dataset, *, seed: int, first_step: int, total_steps: int) -> None:
        """Begins to take batches from ``data``."""
        batches = partial(
            training_batches,
            data,
            self._portions,
            seed=seed,
            first_step=first_step,
            total_steps=total_steps,
            columns=self._objective.columns,
        )
        following = feed(self._strategy, lambda share: batches(share=share))
        self._many = tf.function(partial(self._run_many, following), reduce_retracing=True)

    def run(self, count: int) -> Any:
        """The losses of the next ``count`` steps, each the mean over its samples' targets."""
        return self._many(tf.constant(count)).numpy()

    def mean(self, value: float) -> float:
        """The mean of what every process of a gang gives, the same in all of them."""
        if not isinstance(self._strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return value
        return float(self._mean(tf.constant(value)))

    def _mean_of_replicas(self, value: tf.Tensor) -> tf.Tensor:
        each = self._strategy.run(lambda: value)
        return self._strategy.reduce(tf.distribute.ReduceOp.MEAN, each, axis=None)

    def _run_many(self, following: Feed, count: tf.Tensor) -> tf.Tensor:
        losses = tf.TensorArray(tf.float32, size=count)
        for index in tf.range(count):
            loss = self._strategy.run(self._on_replica, args=following())
            losses = losses.write(index, self._sum(loss))
        return losses.stack()

    def _sum(self, values: Any) -> tf.Tensor:
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)

    def _on_replica(
        self, inputs: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, *columns: tf.Tensor
    ) -> tf.Tensor:
        """One step on one of the replicas; its part of the loss."""
        variables = [variable.value for variable in self._model.trainable_variables]
        rows = self._portions.rows
        total = tf.zeros(())
        sums: list[Any] = []
        for number in range(self._portions.passes):
            part = slice(number * rows, (number + 1) * rows)
            with tf.GradientTape() as tape:
                logits = self._model(inputs[part], training=True)
                beside = tuple(column[part] for column in columns)
                losses = self._objective(logits, inputs[part], targets[part], beside)
                loss = tf.reduce_sum(losses * weights[part])
            gradients = [tf.convert_to_tensor(each) for each in tape.gradient(loss, variables)]
            sums = [a + b for a, b in zip(sums, gradients, strict=True)] if sums else gradients
            total += loss
        self._update(sums)
        return total

    def _update(self, gradients: list[Any]) -> None:
        # Keras's optimizers add up what replicas give them: each gives its part.
        context: Any = tf.distribute.get_replica_context()
        replicas = context.num_replicas_in_sync
        variables = self._model.trainable_variables
        if self._l2:
            chosen = {id(variable) for variable in decayed(variables)}
            gradients = [
                each + self._l2 / replicas * tf.convert_to_tensor(variable.value)
                if id(variable) in chosen
                else each
                for each, variable in zip(gradients, variables, strict=True)
            ]
        if self._max_grad_norm is not None:
            whole = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            clipped, _ = tf.clip_by_global_norm(whole, self._max_grad_norm)
            gradients = [each / replicas for each in clipped]
        self._optimizer.apply(gradients, variables)


class Scores:
    """The mean loss and the accuracy of ``model`` on held-out data, under a strategy."""

    def __init__(self, strategy: Any, model: Any, data: Dataset) -> None:
        self._strategy = strategy
        self._model = model
        targets = data.test_targets[0].size
        self._count = len(data.test_targets) * targets
        replicas = strategy.num_replicas_in_sync
        rows = evaluation_rows(len(data.test_targets), targets, replicas)
        self._calls = -(-len(data.test_targets) // (rows * replicas))
        batches = partial(held_out_batches, data, rows=rows, replicas=replicas)
        self._following = feed(strategy, lambda share: batches(share=share))
        self._all = tf.function(self._run_all)

    def score(self) -> tuple[float, float]:
        """Mean cross-entropy in nats, and the part of targets whose class has the highest logit."""
        loss, correct = self._all()
        return float(loss) / self._count, float(correct) / self._count

    def _run_all(self) -> tuple[tf.Tensor, tf.Tensor]:
        loss = tf.zeros(())
        correct = tf.zeros(())
        for _ in tf.range(self._calls):
            part, hits = self._strategy.run(self._on_replica, args=self._following())
            loss += self._strategy.reduce(tf.distribute.ReduceOp.SUM, part, axis=None)
            correct += self._strategy.reduce(tf.distribute.ReduceOp.SUM, hits, axis=None)
        return loss, correct

    def _on_replica(
        self, inputs: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        logits = self._model(inputs, training=False)
        count = tf.cast(tf.size(targets[0]), tf.float32)
        loss = tf.reduce_sum(cross_entropy(logits, targets) * weights) * count
        hits = tf.cast(tf.argmax(logits, -1, output_type=tf.int32) == targets, tf.float32)
        return loss, tf.reduce_sum(tf.reduce_sum(tf.reshape(hits, (len(weights), -1)), 1) * weights)
