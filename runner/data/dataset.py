"""A data set as whole arrays, split once and standardised by its training part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runner.data.classes import Array, check_trained, classes_of, split
from runner.data.origin import Origin, digests, fingerprint, origin_of_rows
from runner.errors import TaskError

Work = Literal["classification", "language", "embedding"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Dataset:
    """Inputs and targets in memory, so that a batch is a slice and an epoch is one gather.

    For classification, inputs are float32 of shape (samples, *input_shape) and targets int64 of
    shape (samples,), indices into ``classes``. For language, both are uint8 of shape (samples,
    block_size): targets are the inputs moved on by one byte, and the classes are the 256 bytes. For
    embedding, what a model makes of a sample is a vector: inputs are float32 or int64, all targets
    are 0, as none says what is right, and there are no classes.
    ``preprocessing`` is what was done to the raw values, as JSON, so that others can repeat it.
    ``origin`` tells which samples these are; a data set made by hand may leave it to ``origin_of``.
    """

    train_inputs: Array
    train_targets: Array
    test_inputs: Array
    test_targets: Array
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    task: Work
    preprocessing: Mapping[str, Any]
    origin: Origin | None = None

    def standardised_as(self, preprocessing: Mapping[str, Any]) -> Dataset:
        """This data as a model needs it that was trained on data with ``preprocessing``.

        Mean and deviation of the other data take the place of those of this. Raises TaskError where
        the two differ in anything else.
        """
        if dict(preprocessing) == dict(self.preprocessing):
            return self
        rescaling = Rescaling.between(self.preprocessing, preprocessing, self.input_shape)
        return replace(
            self,
            train_inputs=rescaling(self.train_inputs),
            test_inputs=rescaling(self.test_inputs),
            preprocessing=preprocessing,
        )


@dataclass(frozen=True, slots=True)
class Rescaling:
    """Standardised values as another data set's mean and deviation would have made them.

    ``scale`` and ``shift`` are float64, of a shape that inputs broadcast with.
    """

    scale: Array
    shift: Array

    @classmethod
    def between(
        cls, ours: Mapping[str, Any], theirs: Mapping[str, Any], input_shape: tuple[int, ...]
    ) -> Rescaling:
        """From one preprocessing to the other. Raises TaskError where they differ in more."""
        kept, wanted = dict(ours), dict(theirs)
        mean, deviation = _pop_scale(kept)
        their_mean, their_deviation = _pop_scale(wanted)
        if kept != wanted or mean.shape != their_mean.shape:
            raise TaskError(
                "this data was prepared in another way than the model's own",
                hint="name the data the model was trained on",
            )
        shape = (-1, *([1] * (len(input_shape) - 1)))
        return cls(
            (deviation / their_deviation).reshape(shape),
            ((mean - their_mean) / their_deviation).reshape(shape),
        )

    def __call__(self, inputs: Array) -> Array:
        """The inputs, as float32."""
        return (inputs * self.scale + self.shift).astype(np.float32)


def origin_of(data: Dataset) -> Origin:
    """Which samples ``data`` holds: as its source says, else told by its arrays."""
    if data.origin is not None:
        return data.origin
    return origin_of_values(
        data.train_inputs, data.train_targets, data.test_inputs, data.test_targets
    )


def origin_of_values(
    train_inputs: Array, train_targets: Array, test_inputs: Array, test_targets: Array
) -> Origin:
    """Which samples these are, told by their values alone."""
    parts = []
    for inputs, targets in ((train_inputs, train_targets), (test_inputs, test_targets)):
        values = [part.reshape(len(part), -1).astype(np.float64) for part in (inputs, targets)]
        rows = np.concatenate(values, axis=1)
        parts.append(digests(rows, np.zeros(len(rows), dtype=np.int64), [""]))
    return origin_of_rows(*parts)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Preparation:
    """What a model was made for, so that other data can be made ready for it in the same way."""

    task: Work
    classes: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    origin: Origin

    def check_task(self, task: Work) -> None:
        """Raises TaskError unless data of this ``task`` is what the model was made for."""
        if task != self.task:
            raise TaskError(
                f"the model was made for {self.task}, and this data is for {task}",
                hint="name data like that which the model was trained on",
            )

    def fraction(self, samples: str) -> float:
        """The share to hold out where none is asked for: as at training on that data, else all."""
        same = samples == self.origin.samples
        return (self.origin.test_fraction if same else None) or 1.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Labelled:
    """Raw samples and their labels, before any split: what a source of data reads.

    ``features`` and ``label`` are the columns' names, where the data is a table.
    """

    inputs: Array
    labels: Array
    features: tuple[str, ...] | None = None
    label: str | None = None


TEST_FRACTION = 0.2


def from_labelled(
    data: Labelled,
    *,
    test_fraction: float | None,
    seed: int,
    like: Preparation | None,
    is_scaled: bool = True,
) -> Dataset:
    """A classification data set out of samples that have no split of their own.

    Of the samples, ``test_fraction`` (rounded up) are held out: of each class its share, chosen by
    a permutation that depends on ``seed`` alone. See ``load`` for ``like``, for what is held out
    without ``test_fraction``, and for ``is_scaled``.
    """
    if like is not None:
        like.check_task("classification")
    classes, targets = classes_of(data.labels, like.classes if like else None)
    # Columns by name, so that a file whose columns were moved is still the same data.
    moved = None if data.features is None else np.argsort(np.array(data.features))
    rows = digests(data.inputs if moved is None else data.inputs[:, moved], targets, classes)
    if test_fraction is None:
        test_fraction = like.fraction(fingerprint(rows)) if like else TEST_FRACTION
    train, test = split(targets, test_fraction=test_fraction, seed=seed)
    if like is None and is_scaled:
        check_trained(targets[train], targets[test], classes)
    return _standardised(
        data,
        data.inputs[train],
        targets[train],
        data.inputs[test],
        targets[test],
        classes=classes,
        like=like,
        is_scaled=is_scaled,
        origin=origin_of_rows(
            rows[train],
            rows[test],
            test_fraction=test_fraction,
            seed=seed,
        ),
    )


def from_parts(
    train: Labelled, test: Labelled, *, like: Preparation | None, is_scaled: bool = True
) -> Dataset:
    """A classification data set out of samples that are split already."""
    if like is not None:
        like.check_task("classification")
    if train.inputs.shape[1:] != test.inputs.shape[1:]:
        raise TaskError(
            f"samples for training have shape {train.inputs.shape[1:]}, "
            f"those held out {test.inputs.shape[1:]}"
        )
    # Together, so that both sides number the classes alike.
    labels = np.concatenate([train.labels, test.labels])
    classes, targets = classes_of(labels, like.classes if like else None)
    train_targets, test_targets = np.split(targets, [len(train.labels)])
    origin = origin_of_rows(
        digests(train.inputs, train_targets, classes), digests(test.inputs, test_targets, classes)
    )
    if like is None and is_scaled:
        check_trained(train_targets, test_targets, classes)
        if origin.train == origin.test:
            raise TaskError(
                "the samples held out are those for training over again",
                hint="hold out samples that are not trained on",
            )
    return _standardised(
        train,
        train.inputs,
        train_targets,
        test.inputs,
        test_targets,
        classes=classes,
        like=like,
        is_scaled=is_scaled,
        origin=origin,
    )


def _standardised(
    data: Labelled,
    train_inputs: Array,
    train_targets: NDArray[np.int64],
    test_inputs: Array,
    test_targets: NDArray[np.int64],
    *,
    classes: tuple[str, ...],
    like: Preparation | None,
    is_scaled: bool,
    origin: Origin,
) -> Dataset:
    """A data set standardised with the mean and deviation of its training part, or of ``like``.

    Unless it ``is_scaled``, these are 0 and 1, and the values stay what they are.

    Inputs are (samples, features), standardised feature by feature, or (samples, channels, height,
    width), standardised channel by channel; any other shape is standardised as a whole. What does
    not vary is only centred.
    """
    train = np.asarray(train_inputs, dtype=np.float32)
    test = np.asarray(test_inputs, dtype=np.float32)
    preprocessing: Mapping[str, Any]
    if like is None:
        found = moments(train) if is_scaled else _no_moments(test)
        mean, deviation = (value.ravel().tolist() for value in found)
        preprocessing = {"mean": mean, "std": deviation}
        if data.features is not None:
            preprocessing |= {"features": list(data.features), "label": data.label}
    else:
        preprocessing = like.preprocessing
    train, test = (standardised(part, preprocessing) for part in (train, test))
    return Dataset(
        train_inputs=train,
        train_targets=train_targets,
        test_inputs=test,
        test_targets=test_targets,
        input_shape=tuple(train.shape[1:]),
        classes=classes,
        task="classification",
        preprocessing=preprocessing,
        origin=origin,
    )


def standardised(inputs: Array, preprocessing: Mapping[str, Any]) -> Array:
    """Float32 inputs with a model's mean and deviation taken out of them.

    Raises TaskError unless these are of as many features or channels.
    """
    axes = _axes(inputs)
    shape = [1 if axis in axes else size for axis, size in enumerate(inputs.shape)]
    check_scale(preprocessing, int(np.prod(shape)))
    mean, deviation = (np.array(preprocessing[key]).reshape(shape) for key in ("mean", "std"))
    result: Array = ((inputs - mean) / deviation).astype(np.float32)
    return result


def _axes(inputs: Array) -> tuple[int, ...]:
    """Over which axes inputs have one mean: all but those of features, or of channels."""
    return {2: (0,), 4: (0, 2, 3)}.get(inputs.ndim, tuple(range(inputs.ndim)))


def moments(inputs: Array) -> tuple[Array, Array]:
    """Mean and deviation of float32 inputs, in shapes that broadcast; one where nothing varies."""
    axes = _axes(inputs)
    # Float64 for the statistics alone: float32 sums of a few million pixels lose digits.
    mean = inputs.mean(axis=axes, dtype=np.float64, keepdims=True)
    deviation = inputs.std(axis=axes, dtype=np.float64, keepdims=True)
    deviation[deviation == 0.0] = 1.0
    return mean, deviation


def _no_moments(inputs: Array) -> tuple[Array, Array]:
    """A mean and a deviation, shaped as those of ``moments``, that change nothing."""
    axes = _axes(inputs)
    shape = [1 if axis in axes else size for axis, size in enumerate(inputs.shape)]
    return np.zeros(shape), np.ones(shape)


def check_scale(preprocessing: Mapping[str, Any], values: int) -> None:
    """Raises TaskError unless a model's mean and deviation are of so many features or channels."""
    if len(preprocessing["mean"]) != values:
        raise TaskError(
            f"the model was made for samples of {len(preprocessing['mean'])} features or channels, "
            f"these have {values}",
            hint="name data like that which the model was trained on",
        )


def _pop_scale(preprocessing: dict[str, Any]) -> tuple[Array, Array]:
    mean, deviation = preprocessing.pop("mean", []), preprocessing.pop("std", [])
    return np.array(mean, dtype=np.float64), np.array(deviation, dtype=np.float64)
