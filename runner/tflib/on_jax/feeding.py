"""The batches of a training as arrays: the same shape always, every sample once an epoch.

What is left at the end of an epoch is filled up to a whole batch with rows that count nothing, as
XLA compiles one shape only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from runner.data.channels import for_keras
from runner.data.classes import Array
from runner.data.dataset import Dataset
from runner.tflib.portions import Portions, derive_seed


def training_batches(
    data: Dataset,
    portions: Portions,
    *,
    seed: int,
    first_step: int,
    columns: Sequence[Array] = (),
) -> Iterator[tuple[Array, ...]]:
    """Batches from ``first_step`` on, without end: (inputs, targets, weights, *columns), each of
    shape (passes, rows of all replicas, ...). ``columns`` are more that there is of each training
    sample.

    An epoch's order depends on ``seed`` and the epoch alone. The weights of a batch's samples add
    up to one; rows that fill up have none.
    """
    count = len(data.train_inputs)
    windows = math.ceil(count / portions.samples)
    missing = windows * portions.samples - count
    inputs, targets = _ready(data.train_inputs), data.train_targets.astype(np.int32)
    is_sample = np.arange(windows * portions.samples) < count
    weights = is_sample.reshape(windows, -1).astype(np.float32)
    weights /= weights.sum(axis=1, keepdims=True)
    order_seed = derive_seed(seed, "order")
    epoch, skipped = divmod(first_step, windows)
    while True:
        order = np.random.default_rng([order_seed, epoch]).permutation(count)
        # The rows that fill up are samples, so that what a batch norm sees of them is data.
        whole = np.append(order, np.resize(order, missing)).reshape(windows, -1)
        for window in range(skipped, windows):
            chosen = _dealt(whole[window], portions)
            samples = _rows(inputs, chosen), targets[chosen], _dealt(weights[window], portions)
            yield *samples, *(column[chosen] for column in columns)
        epoch, skipped = epoch + 1, 0


def held_out_batches(data: Dataset, *, size: int) -> Iterator[tuple[Array, Array, Array]]:
    """The held-out samples in their order, ``size`` at once: (inputs, targets, weights 1 or 0)."""
    count = len(data.test_inputs)
    inputs, targets = _ready(data.test_inputs), data.test_targets.astype(np.int32)
    for first in range(0, count, size):
        chosen = np.arange(first, first + size)
        is_sample = chosen < count
        chosen = np.where(is_sample, chosen, 0)
        yield _rows(inputs, chosen), targets[chosen], is_sample.astype(np.float32)


def _dealt(rows: Array, portions: Portions) -> Array:
    """A batch's rows, filled up, in the passes that take them."""
    # Zero is a sample's index as well as no weight.
    filled = np.pad(rows, (0, portions.size - portions.samples))
    return filled.reshape(portions.passes, -1)


def _ready(values: Array) -> Array:
    """What a batch is gathered from: bytes as they are, images with channels last."""
    return values if values.dtype == np.uint8 else for_keras(values)


def _rows(values: Array, chosen: Array) -> Array:
    rows = values[chosen]
    return rows.astype(np.int32) if rows.dtype == np.uint8 else rows
