"""The samples by which a quantizer learns what values a model's activations take."""

from __future__ import annotations

import numpy as np

from runner.data.classes import Array
from runner.data.dataset import Dataset
from runner.data.described import Described
from runner.errors import TaskError


def calibration_samples(
    data: Dataset, described: Described, *, samples: int, is_measured_on: bool, seed: int = 0
) -> Array:
    """At most so many samples (rows, *input_shape), drawn from those that are not held out.

    Of data that holds everything out, as data does that a model was not trained on, they are drawn
    from that, unless it ``is_measured_on``. They are as the model takes them. Raises TaskError if
    there are none, if they are not of the model's shape, or all of one class, which shows a part of
    the values only.
    """
    data = data.standardised_as(described.preprocessing)
    inputs, targets = data.train_inputs, data.train_targets
    if not len(inputs) and not is_measured_on:
        inputs, targets = data.test_inputs, data.test_targets
    if not len(inputs):
        raise TaskError(
            "there are no samples to calibrate with: all of the data is held out, to measure on",
            hint="name other data in 'calibration'",
        )
    if data.input_shape != described.input_shape:
        raise TaskError(
            f"the samples to calibrate with have shape {data.input_shape}, and the "
            f"{described.spec} takes {described.input_shape}",
            hint="name data like that which the model was trained on in 'calibration'",
        )
    present = np.unique(targets)
    if data.task == "classification" and len(present) == 1 and len(described.classes) > 1:
        raise TaskError(
            f"the {len(inputs):,} samples to calibrate with are all of class "
            f"'{data.classes[int(present[0])]}', and the model knows {len(described.classes)}: "
            "other classes give other values",
            hint="name samples of all classes in 'calibration'",
        )
    chosen = np.random.default_rng(seed).permutation(len(inputs))[:samples]
    found = np.ascontiguousarray(inputs[np.sort(chosen)])
    # Bytes are what embeddings are looked up by, and files take these as int64.
    return found.astype(np.int64) if found.dtype == np.uint8 else found


def full_batches(samples: Array, rows: int) -> list[Array]:
    """``samples`` in batches of ``rows``; the last is filled up with the first of them."""
    short = -len(samples) % rows
    return np.split(
        np.resize(samples, (len(samples) + short, *samples.shape[1:])),
        range(rows, len(samples), rows),
    )
