"""Few labels: of the samples to train on, those that keep theirs, and those that are without."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from runner.data.classes import check_trained, drawn
from runner.data.dataset import Dataset, moments, origin_of
from runner.errors import TaskError

UNLABELLED = -100
"""The target of a sample without a label: that which PyTorch's cross-entropy leaves out."""

# One draw, whatever a task's seed, so that tasks which train on as few samples compare.
_SEED = 0


def limited(data: Dataset, samples: int, *, keeps_rest: bool, is_rescaled: bool) -> Dataset:
    """``data`` with ``samples`` of its samples to train on, of each class its share.

    The others are left out, or stay as samples without labels where ``keeps_rest``. What is held
    out stays as it is, and so does the origin, which tells what is not held out: no such model is
    ever measured on what another has trained on. With ``is_rescaled`` mean and deviation become
    those of what is left, so that nothing of the others gets in. Raises TaskError if there are
    fewer samples, or a class would have none.
    """
    total = len(data.train_inputs)
    if samples > total:
        raise TaskError(
            f"train_samples is {samples:,}, and the data has {total:,} to train on",
            hint=f"take at most {total:,}, or leave it out",
        )
    is_text = data.task == "language"
    if keeps_rest and is_text:
        raise TaskError("a text has no samples without labels", hint="leave 'unlabelled' out")
    targets = np.zeros(total, dtype=np.int64) if is_text else np.asarray(data.train_targets)
    chosen = drawn(targets, samples, seed=_SEED)
    if not is_text:
        check_trained(targets[chosen], np.asarray(data.test_targets), data.classes)
    origin = replace(origin_of(data), train_samples=total if keeps_rest else samples)
    if keeps_rest:
        return replace(data, train_targets=np.where(chosen, targets, UNLABELLED), origin=origin)
    few = replace(
        data,
        train_inputs=data.train_inputs[chosen],
        train_targets=data.train_targets[chosen],
        origin=origin,
    )
    if not is_rescaled or "mean" not in data.preprocessing:
        return few
    return few.standardised_as(_rescaled(few))


def _rescaled(data: Dataset) -> dict[str, object]:
    """The preprocessing by which the samples to train on have mean zero and deviation one."""
    mean, deviation = (value.ravel() for value in moments(data.train_inputs))
    old_mean, old_deviation = (np.array(data.preprocessing[key]) for key in ("mean", "std"))
    return {
        **data.preprocessing,
        "mean": (old_mean + old_deviation * mean).tolist(),
        "std": (old_deviation * deviation).tolist(),
    }
