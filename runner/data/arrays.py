"""Arrays: those of an ``.npz`` file, and those that a user's factory returns."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from runner.data.classes import Array
from runner.data.dataset import (
    Dataset,
    Labelled,
    Preparation,
    from_labelled,
    from_parts,
)
from runner.data.factories import call, resolve
from runner.errors import TaskError

_SPLIT = ("x_train", "y_train", "x_test", "y_test")
_WHOLE = ("x", "y")


def read_npz(
    path: Path,
    *,
    test_fraction: float | None,
    seed: int,
    like: Preparation | None,
    is_scaled: bool = True,
) -> Dataset:
    """A data set out of the arrays x_train, y_train, x_test, y_test, or x and y, which are split.

    Inputs are (samples, features), (samples, height, width), or images with one or three channels
    either before or after height and width. Raises TaskError if arrays are missing, don't fit each
    other, are no numbers, or are pickled.
    """
    source = str(path)
    arrays = _read(path)
    if all(name in arrays for name in _SPLIT):
        parts = (arrays[name] for name in _SPLIT)
        return from_split(*parts, source=source, like=like, is_scaled=is_scaled)
    if all(name in arrays for name in _WHOLE):
        whole = _labelled(arrays["x"], arrays["y"], ("x", "y"), source)
        return from_labelled(
            whole, test_fraction=test_fraction, seed=seed, like=like, is_scaled=is_scaled
        )
    raise TaskError(
        f"{path} holds {', '.join(arrays) or 'nothing'}; "
        f"it needs {', '.join(_SPLIT)}, or {' and '.join(_WHOLE)}"
    )


def read_inputs(path: Path) -> Array:
    """The samples of an ``.npz`` file alone: its ``x``, or ``x_train``. Raises as ``read_npz``."""
    arrays = _read(path)
    for name in ("x", "x_train"):
        if name in arrays:
            return inputs_of(arrays[name], name, str(path))
    raise TaskError(f"{path} holds {', '.join(arrays) or 'nothing'}; it needs x, or x_train")


def _read(path: Path) -> dict[str, Array]:
    # Told apart here, as NumPy takes any other file for pickled data, and says so.
    if not zipfile.is_zipfile(path):
        raise TaskError(
            f"{path} can't be read as npz: it is not an archive of arrays",
            hint="write it with numpy.savez, or say with `format` what it is",
        )
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                try:
                    arrays[name] = archive[name]
                except ValueError as error:
                    raise TaskError(
                        f"{path} can't be read as npz: {name}: {error}",
                        hint="arrays of Python objects are pickled, and unpickling runs code: "
                        "convert it before numpy.savez, with .astype(float), or .astype(str) for "
                        "labels",
                    ) from error
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise TaskError(
            f"{path} can't be read as npz: {error}",
            hint="write it with numpy.savez, from arrays of numbers",
        ) from error
    return arrays


def from_split(
    x_train: Any,
    y_train: Any,
    x_test: Any,
    y_test: Any,
    *,
    source: str,
    like: Preparation | None,
    is_scaled: bool = True,
) -> Dataset:
    """A data set out of arrays that are split already; ``source`` names them in messages."""
    train = _labelled(x_train, y_train, ("x_train", "y_train"), source)
    test = _labelled(x_test, y_test, ("x_test", "y_test"), source)
    return from_parts(train, test, like=like, is_scaled=is_scaled)


def from_factory(
    factory: str, args: Mapping[str, Any], like: Preparation | None, *, is_scaled: bool = True
) -> Dataset:
    """What the user's function ``pkg.mod:fn`` returns for ``args``: a Dataset, or arrays.

    These are x_train, y_train, x_test and y_test, as ``read_npz`` takes them; unless the data
    ``is_scaled``, they stay as they are, and so does a Dataset. They are x_train and x_test for a
    model that gives embeddings, of any shape.
    """
    result = call(f"data factory {factory}", resolve(factory), args)
    if isinstance(result, Dataset):
        _check_dataset(result, factory)
        return result
    if isinstance(result, tuple) and len(result) == 4:
        return from_split(*result, source=factory, like=like, is_scaled=is_scaled)
    if isinstance(result, tuple) and len(result) == 2:
        return _unlabelled(*result, source=factory)
    raise TaskError(
        f"{factory} returned a {type(result).__name__}",
        hint="return a runner.data.dataset.Dataset, or (x_train, y_train, x_test, y_test), or "
        "(x_train, x_test) for a model that gives embeddings",
    )


def _unlabelled(x_train: Any, x_test: Any, *, source: str) -> Dataset:
    parts = {"x_train": np.asarray(x_train), "x_test": np.asarray(x_test)}
    for name, array in parts.items():
        if array.dtype.kind not in "iufb" or array.ndim < 2 or not array.size:
            raise TaskError(
                f"{source}: {name} is an array of {_dtype(array)} and shape {array.shape}; "
                "expected numbers of shape (samples, ...)"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise TaskError(f"{source}: {name}: a value is missing or not finite")
        parts[name] = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
    train, test = parts.values()
    if (train.shape[1:], train.dtype) != (test.shape[1:], test.dtype):
        raise TaskError(
            f"{source}: x_train holds {train.dtype} of shape {train.shape[1:]} a sample, and "
            f"x_test {test.dtype} of shape {test.shape[1:]}; expected the same"
        )
    return Dataset(
        train_inputs=train,
        train_targets=np.zeros(len(train), dtype=np.int64),
        test_inputs=test,
        test_targets=np.zeros(len(test), dtype=np.int64),
        input_shape=tuple(train.shape[1:]),
        classes=(),
        task="embedding",
        preprocessing={},
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
        if data.task == "embedding":
            continue
        if int(targets.min()) < 0 or int(targets.max()) >= len(data.classes):
            raise TaskError(
                f"{source}: {part}_targets are {targets.min()} to {targets.max()}; "
                f"there are {len(data.classes)} classes, counted from 0"
            )


def _labelled(inputs: Any, labels: Any, names: tuple[str, str], source: str) -> Labelled:
    samples = inputs_of(inputs, names[0], source)
    return Labelled(inputs=samples, labels=_labels(labels, names[1], samples, source))


def inputs_of(values: Any, name: str, source: str) -> Array:
    """Samples, with channels first. Raises TaskError, naming ``source``, if they are none."""
    array = np.asarray(values)
    if array.dtype.kind not in "iufb" or array.ndim not in (2, 3, 4) or not array.size:
        raise TaskError(
            f"{source}: {name} is an array of {_dtype(array)} and shape {array.shape}; inputs are "
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
            f"{source}: {name} is an array of {_dtype(array)} and shape {array.shape}; labels are "
            "numbers or texts of shape (samples,)"
        )
    if len(array) != len(inputs):
        raise TaskError(f"{source}: {name} has {len(array)} labels for {len(inputs)} samples")
    return array


def _dtype(array: Array) -> str:
    words = {"U": "text", "S": "bytes", "O": "Python objects"}
    return words.get(array.dtype.kind, str(array.dtype))
