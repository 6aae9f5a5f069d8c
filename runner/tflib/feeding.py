"""The batches of a training as tf.data: static shapes, every sample once an epoch, prefetched.

What is left at the end of an epoch is filled up to a whole batch with rows that count nothing, as a
TPU compiles one shape only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from runner.data.classes import Array
from runner.data.dataset import Dataset
from runner.tflib.portions import Portions, derive_seed
from runner.tflib.sharing import Share


def training_batches(
    data: Dataset,
    portions: Portions,
    *,
    seed: int,
    first_step: int,
    total_steps: int,
    columns: Sequence[Array] = (),
    share: Share | None = None,
) -> tf.data.Dataset:
    """Batches from ``first_step`` to ``total_steps``, of which each replica of ``share`` gets an
    element, one after another: (inputs, targets, weights, *columns), each as many rows as it takes
    in all passes. ``columns`` are more that there is of each training sample.

    An epoch's order depends on ``seed`` and the epoch alone. The weights of a batch's samples add
    up to one; rows that fill up have none. The arrays lie in TensorFlow's memory whole, where a
    portion is one gather. Rows lie so that replicas together see in their n-th pass what a single
    device sees in its n-th.
    """
    share = share or Share()
    count = len(data.train_inputs)
    windows = math.ceil(count / portions.samples)
    inputs, targets = _in_memory(data.train_inputs), _in_memory(data.train_targets)
    beside = [tf.constant(column) for column in columns]
    order_seed = derive_seed(seed, "order")
    missing = windows * portions.samples - count
    is_sample = np.arange(windows * portions.samples) < count
    weights = is_sample.reshape(windows, -1).astype(np.float32)
    weights /= weights.sum(axis=1, keepdims=True)
    dealt_weights = _dealt(tf.constant(weights), portions, share)

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count, dtype=tf.int32), seed=[order_seed, number]
        )
        # The rows that fill up are samples, so that what a batch norm sees of them is data.
        order = tf.concat([order, tf.tile(order, [missing // count + 1])[:missing]], 0)
        dealt = _dealt(tf.reshape(order, weights.shape), portions, share)
        return tf.data.Dataset.from_tensor_slices((dealt, dealt_weights))

    def gather(order: tf.Tensor, weight: tf.Tensor) -> tuple[tf.Tensor, ...]:
        samples = _rows(inputs, order), _rows(targets, order), weight
        return *samples, *(tf.gather(column, order) for column in beside)

    first_epoch, skipped = divmod(first_step, windows)
    epochs = math.ceil(total_steps / windows)
    batches = tf.data.Dataset.range(first_epoch, epochs).flat_map(epoch)
    each = share.replicas(portions.replicas)
    return _ahead(batches.skip(skipped * each), gather, each)


def held_out_batches(
    data: Dataset, *, rows: int, replicas: int, share: Share | None = None
) -> tf.data.Dataset:
    """The held-out samples in their order, ``rows`` of them for each replica, as for training."""
    share = share or Share()
    size = rows * replicas
    count = len(data.test_inputs)
    windows = math.ceil(count / size)
    inputs, targets = _in_memory(data.test_inputs), _in_memory(data.test_targets)
    order = share.of(np.arange(windows * size).reshape(windows, replicas, rows)).reshape(-1, rows)
    indices = np.where(order < count, order, 0).astype(np.int32)
    weights = (order < count).astype(np.float32)

    def gather(chosen: tf.Tensor, weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return _rows(inputs, chosen), _rows(targets, chosen), weight

    batches = tf.data.Dataset.from_tensor_slices((indices, weights))
    return _ahead(batches, gather, share.replicas(replicas))


def _dealt(batches: tf.Tensor, portions: Portions, share: Share) -> tf.Tensor:
    """A row for each batch and replica of ``share``: what that takes of the batch in all passes.

    ``batches`` has a row for each batch, which is filled up here.
    """
    missing = portions.size - portions.samples
    # Zero is a sample's index as well as no weight.
    whole = tf.pad(batches, [[0, 0], [0, missing]])
    parts = tf.reshape(whole, (-1, portions.passes, portions.replicas, portions.rows))
    ours = share.of(tf.transpose(parts, (0, 2, 1, 3)))
    return tf.reshape(ours, (-1, portions.passes * portions.rows))


def _in_memory(values: Array) -> Any:
    """What a batch is gathered from: bytes as they are, images with channels last."""
    if values.dtype == np.int64:
        values = values.astype(np.int32)
    return tf.constant(np.moveaxis(values, 1, -1) if values.ndim == 4 else values)


def _rows(values: Any, chosen: tf.Tensor) -> tf.Tensor:
    rows = tf.gather(values, chosen)
    return tf.cast(rows, tf.int32) if rows.dtype == tf.uint8 else rows


def _ahead(batches: tf.data.Dataset, gather: Callable[..., Any], replicas: int) -> tf.data.Dataset:
    """What ``gather`` makes of each element, in order, two batches for each replica ahead."""
    options = tf.data.Options()
    options.deterministic = True
    # Whoever lets go of an iterator waits for the thread that tunes it, which sleeps up to a
    # minute and can miss that it is to end (TensorFlow 2.21, Model::OptimizeLoop).
    options.autotune.enabled = False
    at_once = replicas if replicas > 1 else None
    gathered = batches.map(gather, num_parallel_calls=at_once).prefetch(2 * replicas)
    return gathered.with_options(options)
