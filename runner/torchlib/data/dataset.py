"""A data set as whole tensors, split once and standardised by its training part."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runner.errors import TaskError

Array = NDArray[Any]
Work = Literal["classification", "language"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Dataset:
    """Inputs and targets in memory, so that a batch is a slice and an epoch is one gather.

    For classification, inputs are float32 of shape (samples, *input_shape) and targets int64 of
    shape (samples,), indices into ``classes``. For language, both are uint8 of shape (samples,
    block_size): targets are the inputs moved on by one byte, and the classes are the 256 bytes.
    ``preprocessing`` is what was done to the raw values, as JSON, so that others can repeat it.
    """

    train_inputs: Tensor
    train_targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    task: Work
    preprocessing: Mapping[str, Any]

    def standardised_as(self, preprocessing: Mapping[str, Any]) -> Dataset:
        """This data as a model needs it that was trained on data with ``preprocessing``.

        Mean and deviation of the other data take the place of those of this. Raises TaskError where
        the two differ in anything else.
        """
        if dict(preprocessing) == dict(self.preprocessing):
            return self
        ours, theirs = dict(self.preprocessing), dict(preprocessing)
        mean, deviation = _pop_scale(ours)
        their_mean, their_deviation = _pop_scale(theirs)
        if ours != theirs or mean.shape != their_mean.shape:
            raise TaskError(
                "this data was prepared in another way than the model's own",
                hint="name the data the model was trained on",
            )
        shape = (-1, *([1] * (len(self.input_shape) - 1)))
        scale = (deviation / their_deviation).view(shape)
        shift = ((mean - their_mean) / their_deviation).view(shape)
        return replace(
            self,
            train_inputs=(self.train_inputs * scale + shift).float(),
            test_inputs=(self.test_inputs * scale + shift).float(),
            preprocessing=preprocessing,
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Labelled:
    """Raw samples and their labels, before any split: what a source of data reads."""

    inputs: Array
    labels: Array


def from_labelled(
    data: Labelled,
    *,
    test_fraction: float,
    seed: int,
    feature_names: list[str] | None = None,
) -> Dataset:
    """A classification data set out of samples that have no split of their own.

    Of the samples, ``test_fraction`` (rounded up) are held out: of each class its share, chosen by
    a permutation that depends on ``seed`` alone.
    """
    classes, targets = classes_of(data.labels)
    train, test = split(targets, test_fraction=test_fraction, seed=seed)
    return from_arrays(
        data.inputs[train],
        targets[train],
        data.inputs[test],
        targets[test],
        classes=classes,
        feature_names=feature_names,
    )


def from_arrays(
    train_inputs: Array,
    train_targets: Array,
    test_inputs: Array,
    test_targets: Array,
    *,
    classes: tuple[str, ...],
    feature_names: list[str] | None = None,
) -> Dataset:
    """A classification data set, standardised with the mean and deviation of its training part.

    Inputs are (samples, features), standardised feature by feature, or (samples, channels, height,
    width), standardised channel by channel; any other shape is standardised as a whole. What does
    not vary is only centred.
    """
    train = np.asarray(train_inputs, dtype=np.float32)
    test = np.asarray(test_inputs, dtype=np.float32)
    axes = {2: (0,), 4: (0, 2, 3)}.get(train.ndim, tuple(range(train.ndim)))
    # Float64 for the statistics alone: float32 sums of a few million pixels lose digits.
    mean = train.mean(axis=axes, dtype=np.float64, keepdims=True)
    deviation = train.std(axis=axes, dtype=np.float64, keepdims=True)
    deviation[deviation == 0.0] = 1.0
    train = ((train - mean) / deviation).astype(np.float32)
    test = ((test - mean) / deviation).astype(np.float32)
    preprocessing: dict[str, Any] = {
        "mean": mean.ravel().tolist(),
        "std": deviation.ravel().tolist(),
    }
    if feature_names is not None:
        preprocessing["features"] = feature_names
    return Dataset(
        train_inputs=torch.from_numpy(train),
        train_targets=torch.from_numpy(np.asarray(train_targets, dtype=np.int64)),
        test_inputs=torch.from_numpy(test),
        test_targets=torch.from_numpy(np.asarray(test_targets, dtype=np.int64)),
        input_shape=tuple(train.shape[1:]),
        classes=classes,
        task="classification",
        preprocessing=preprocessing,
    )


def classes_of(labels: Array) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The classes that occur, sorted (numbers by value), and each sample's index into them.

    Raises TaskError for labels that are no classes: fractional numbers, or only one class.
    """
    if labels.dtype.kind == "f":
        if not np.all(labels == np.floor(labels)):
            raise TaskError(
                "the labels are fractional numbers, and only classification is known",
                hint="name the column of classes with `label`",
            )
        labels = labels.astype(np.int64)
    found, targets = np.unique(labels, return_inverse=True)
    if len(found) < 2:
        raise TaskError(f"a classification needs at least two classes, the data has {len(found)}")
    return tuple(str(value) for value in found.tolist()), targets.astype(np.int64)


def split(
    targets: NDArray[np.int64], *, test_fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the training and of the held-out samples, each in rising order.

    ``ceil(samples * test_fraction)`` are held out, as in scikit-learn; what the classes' shares
    lack to that after rounding down goes to those with the largest remainders. Raises TaskError if
    either part would be empty.
    """
    # RandomState and not default_rng: its stream is frozen for good (NEP 19), and a split that
    # moved with numpy's version would make old and new results incomparable.
    order = np.random.RandomState(seed).permutation(len(targets))
    total = math.ceil(len(targets) * test_fraction)
    sizes = np.bincount(targets)
    shares, remainders = np.divmod(sizes * total, len(targets))
    lacking = total - int(shares.sum())
    shares[np.argsort(-remainders, kind="stable")[:lacking]] += 1
    held_out = np.zeros(len(targets), dtype=bool)
    for index, share in enumerate(shares):
        held_out[order[targets[order] == index][:share]] = True
    train, test = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    if not len(train) or not len(test):
        raise TaskError(
            f"{len(targets)} samples with test_fraction {test_fraction:g} leave {len(train)} for "
            f"training and {len(test)} held out",
            hint="give more samples, or another test_fraction",
        )
    return train, test


def _pop_scale(preprocessing: dict[str, Any]) -> tuple[Tensor, Tensor]:
    mean, deviation = preprocessing.pop("mean", []), preprocessing.pop("std", [])
    return torch.tensor(mean, dtype=torch.float64), torch.tensor(deviation, dtype=torch.float64)
