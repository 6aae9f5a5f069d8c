"""The batches of a training as tf.data: static shapes, every sample once an epoch, prefetched.

What is left at the end of an epoch is filled up to a whole batch with rows that count nothing, as a
TPU compiles one shape only.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from runner.data.classes import Array
from runner.data.dataset import Dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class Portions:
    """How a batch of ``samples`` is divided: ``passes`` one after another on ``replicas`` at once.

    Each portion has ``rows`` rows; where the product is more than ``samples``, the rest of the last
    is filled up with rows that count nothing.
    """

    samples: int
    passes: int
    replicas: int

    @property
    def rows(self) -> int:
        """Rows that one forward pass on one replica sees."""
        return math.ceil(self.samples / (self.passes * self.replicas))

    @property
    def size(self) -> int:
        """Rows of a whole batch, with those that fill it up."""
        return self.passes * self.replicas * self.rows


def derive_seed(seed: int, purpose: str) -> int:
    """A seed below 2**31 for one use of randomness, apart from that of every other."""
    digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1


def for_keras(inputs: Array) -> Array:
    """Inputs as Keras models take them: images with channels last, bytes as int32."""
    if inputs.ndim == 4:
        return np.ascontiguousarray(np.moveaxis(inputs, 1, -1))
    return inputs.astype(np.int32) if inputs.dtype == np.uint8 else inputs


def input_shape(data: Dataset) -> tuple[int, ...]:
    """The shape of a sample as Keras models take it."""
    shape = data.input_shape
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape


def training_batches(
    data: Dataset, portions: Portions, *, seed: int, first_step: int, total_steps: int
) -> tf.data.Dataset:
    """Batches from ``first_step`` to ``total_steps``: (inputs, targets, weights), each
    ``portions.size`` rows.

    An epoch's order depends on ``seed`` and the epoch alone. The weights of a batch's samples add
    up to one; rows that fill up have none. The arrays lie in TensorFlow's memory whole, where a
    batch is one gather. Rows lie so that replicas, each of which takes the same number of rows one
    after another, together see in their n-th pass what a single device sees in its n-th.
    """
    count = len(data.train_inputs)
    windows = math.ceil(count / portions.samples)
    inputs, targets = _in_memory(data.train_inputs), _in_memory(data.train_targets)
    order_seed = derive_seed(seed, "order")
    missing = windows * portions.samples - count
    is_sample = np.arange(windows * portions.samples) < count
    weights = is_sample.reshape(windows, -1).astype(np.float32)
    weights /= weights.sum(axis=1, keepdims=True)

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count, dtype=tf.int32), seed=[order_seed, number]
        )
        # The rows that fill up are samples, so that what a batch norm sees of them is data.
        order = tf.concat([order, tf.tile(order, [missing // count + 1])[:missing]], 0)
        return tf.data.Dataset.from_tensor_slices((tf.reshape(order, weights.shape), weights))

    def gather(order: tf.Tensor, weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        order = _dealt(order, portions)
        return _rows(inputs, order), _rows(targets, order), _dealt(weight, portions)

    first_epoch, skipped = divmod(first_step, windows)
    epochs = math.ceil(total_steps / windows)
    batches = tf.data.Dataset.range(first_epoch, epochs).flat_map(epoch).skip(skipped)
    return _quietly(batches.map(gather).prefetch(tf.data.AUTOTUNE))


def held_out_batches(data: Dataset, *, rows: int, replicas: int) -> tf.data.Dataset:
    """The held-out samples in their order, ``rows`` of them for each replica, as for training."""
    size = rows * replicas
    count = len(data.test_inputs)
    windows = math.ceil(count / size)
    inputs, targets = _in_memory(data.test_inputs), _in_memory(data.test_targets)
    order = np.arange(windows * size).reshape(windows, size)
    indices = np.where(order < count, order, 0).astype(np.int32)
    weights = (order < count).astype(np.float32)

    def gather(chosen: tf.Tensor, weight: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        return _rows(inputs, chosen), _rows(targets, chosen), weight

    batches = tf.data.Dataset.from_tensor_slices((indices, weights))
    return _quietly(batches.map(gather).prefetch(tf.data.AUTOTUNE))


def _dealt(rows: tf.Tensor, portions: Portions) -> tf.Tensor:
    """A batch's rows, filled up, in the order in which replicas take them."""
    missing = portions.size - portions.samples
    if missing:
        # Zero is a sample's index as well as no weight.
        rows = tf.concat([rows, tf.zeros([missing], rows.dtype)], 0)
    if portions.passes == 1 or portions.replicas == 1:
        return rows
    shape = (portions.passes, portions.replicas, portions.rows)
    return tf.reshape(tf.transpose(tf.reshape(rows, shape), (1, 0, 2)), (portions.size,))


def _in_memory(values: Array) -> Any:
    """What a batch is gathered from: bytes as they are, images with channels last."""
    if values.dtype == np.int64:
        values = values.astype(np.int32)
    return tf.constant(np.moveaxis(values, 1, -1) if values.ndim == 4 else values)


def _rows(values: Any, chosen: tf.Tensor) -> tf.Tensor:
    rows = tf.gather(values, chosen)
    return tf.cast(rows, tf.int32) if rows.dtype == tf.uint8 else rows


def _quietly(batches: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    # Batches are cut for the replicas as they are; there are no files to share out.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    options.deterministic = True
    return batches.with_options(options)
