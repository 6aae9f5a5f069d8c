"""Arrays: those of an ``.npz`` file, and those that a user's factory returns."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from runner.errors import TaskError
from runner.torchlib.data.dataset import (
    Array,
    Dataset,
    Labelled,
    classes_of,
    from_arrays,
    from_labelled,
)
from runner.torchlib.factories import call, resolve

_SPLIT = ("x_train", "y_train", "x_test", "y_test")
_WHOLE = ("x", "y")


def read_npz(path: Path, *, test_fraction: float, seed: int) -> Dataset:
    """A data set out of the arrays x_train, y_train, x_test, y_test, or x and y, which are split.

    Inputs are (samples, features), (samples, height, width), or images with one or three channels
    either before or after height and width. Raises TaskError if arrays are missing, don't fit each
    other, are no numbers, or are pickled.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError) as error:
        raise TaskError(
            f"{path} can't be read as npz: {error}",
            hint="write it with numpy.savez, from arrays of numbers",
        ) from error
    if all(name in arrays for name in _SPLIT):
        return from_split(*(arrays[name] for name in _SPLIT), source=str(path))
    if all(name in arrays for name in _WHOLE):
        inputs = _inputs(arrays["x"], "x", str(path))
        labels = _labels(arrays["y"], "y", inputs, str(path))
        return from_labelled(
            Labelled(inputs=inputs, labels=labels), test_fraction=test_fraction, seed=seed
        )
    raise TaskError(
        f"{path} holds {', '.join(arrays) or 'nothing'}; "
        f"it needs {', '.join(_SPLIT)}, or {' and '.join(_WHOLE)}"
    )


def from_split(x_train: Any, y_train: Any, x_test: Any, y_test: Any, *, source: str) -> Dataset:
    """A data set out of arrays that are split already; ``source`` names them in messages."""
    train = _inputs(x_train, "x_train", source)
    test = _inputs(x_test, "x_test", source)
    if train.shape[1:] != test.shape[1:]:
        raise TaskError(
            f"{source}: samples of x_train have shape {train.shape[1:]}, "
            f"those of x_test {test.shape[1:]}"
        )
    train_labels = _labels(y_train, "y_train", train, source)
    test_labels = _labels(y_test, "y_test", test, source)
    # Together, so that both sides number the classes alike.
    classes, targets = classes_of(np.concatenate([train_labels, test_labels]))
    return from_arrays(
        train,
        targets[: len(train)],
        test,
        targets[len(train) :],
        classes=classes,
    )


def from_factory(factory: str, args: Mapping[str, Any]) -> Dataset:
    """What the user's function ``pkg.mod:fn`` returns for ``args``: a Dataset, or four arrays.

    The arrays are x_train, y_train, x_test and y_test, as ``read_npz`` takes them.
    """
    result = call(f"data factory {factory}", resolve(factory), args)
    if isinstance(result, Dataset):
        _check_dataset(result, factory)
        return result
    if isinstance(result, tuple) and len(result) == 4:
        return from_split(*result, source=factory)
    raise TaskError(
        f"{factory} returned a {type(result).__name__}",
        hint="return a runner.torchlib.data.Dataset or (x_train, y_train, x_test, y_test)",
    )


def _check_dataset(data: Dataset, source: str) -> None:
    for part in ("train", "test"):
        inputs = getattr(data, f"{part}_inputs")
        targets = getattr(data, f"{part}_targets")
        if not len(inputs) or len(inputs) != len(targets):
            raise TaskError(
                f"{source}: {len(inputs)} {part}_inputs and {len(targets)} {part}_targets; "
                "there must be as many of both, and some"
            )
        if tuple(inputs.shape[1:]) != tuple(data.input_shape):
            raise TaskError(
                f"{source}: {part}_inputs have shape {tuple(inputs.shape[1:])} a sample, "
                f"and input_shape is {tuple(data.input_shape)}"
            )
        if int(targets.min()) < 0 or int(targets.max()) >= len(data.classes):
            raise TaskError(
                f"{source}: {part}_targets are {targets.min()} to {targets.max()}; "
                f"there are {len(data.classes)} classes, counted from 0"
            )


def _inputs(values: Any, name: str, source: str) -> Array:
    array = np.asarray(values)
    if array.dtype.kind not in "iufb" or array.ndim not in (2, 3, 4) or not array.size:
        raise TaskError(
            f"{source}: {name} is an array of {array.dtype} and shape {array.shape}; inputs are "
            "numbers of shape (samples, features) or (samples, height, width) or with channels"
        )
    if not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0][0])
        raise TaskError(f"{source}: {name}, sample {row}: a value is missing or not finite")
    if array.ndim == 3:
        array = array[:, np.newaxis]
    elif array.ndim == 4 and array.shape[-1] in (1, 3) and array.shape[1] not in (1, 3):
        array = np.moveaxis(array, -1, 1)
    return array


def _labels(values: Any, name: str, inputs: Array, source: str) -> Array:
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1 or array.dtype.kind not in "iufbU":
        raise TaskError(
            f"{source}: {name} is an array of {array.dtype} and shape {array.shape}; labels are "
            "numbers or texts of shape (samples,)"
        )
    if len(array) != len(inputs):
        raise TaskError(f"{source}: {name} has {len(array)} labels for {len(inputs)} samples")
    return array
