"""Samples without labels, from a source of their own: what a teacher labels for its student."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from runner.data import arrays, images, look_up, packaged, tables
from runner.data.classes import Array
from runner.data.dataset import Dataset, origin_of, standardised
from runner.data.factories import call, resolve
from runner.data.labels import UNLABELLED
from runner.data.origin import digests
from runner.errors import TaskError


def with_unlabelled(
    data: Dataset,
    *,
    name: str | None = None,
    path: str | None = None,
    format: str | None = None,
    factory: str | None = None,
    args: Mapping[str, Any] | None = None,
    label: str | None = None,
) -> Dataset:
    """``data``, and besides what it has to train on, the samples of a source without their labels.

    The source is named as for ``runner.data.load``: of a built-in set all samples, of an ``.npz``
    its ``x`` or ``x_train``, of a folder of images all that lie in it or in its folders, of a table
    the columns that ``data`` has, and of a factory the array that it returns, or the first of a
    tuple. Raises TaskError if they are not such as the data's, or some of them are held out.
    """
    source = name or path or factory or ""
    if data.task == "language":
        raise TaskError("a text has no samples without labels", hint="leave 'unlabelled' out")
    if factory is not None:
        raw = _returned(call(f"data factory {factory}", resolve(factory), args or {}), factory)
    elif path is not None:
        raw = _read(path, format, data)
    else:
        raw = {"digits": packaged.digits, "mnist5k": packaged.mnist5k}[str(name)]().inputs
    if tuple(raw.shape[1:]) != tuple(data.input_shape) or not len(raw):
        raise TaskError(
            f"{source}: there are {len(raw):,} samples without labels of shape "
            f"{tuple(raw.shape[1:])}, and those with labels are of shape {data.input_shape}",
            hint="name samples of the same sort for both",
        )
    inputs = standardised(np.asarray(raw, dtype=np.float32), data.preprocessing)
    _check_not_held_out(inputs, data.test_inputs, source)
    origin = origin_of(data)
    targets = np.asarray(data.train_targets)
    return replace(
        data,
        train_inputs=np.concatenate([data.train_inputs, inputs]),
        train_targets=np.concatenate([targets, np.full(len(inputs), UNLABELLED, targets.dtype)]),
        origin=replace(origin, train_samples=origin.train_samples + len(inputs)),
    )


def _read(path: str, format: str | None, data: Dataset) -> Array:
    if format is None and images.lie_in(Path(path)):
        format = "images"
    file, format = look_up(path, format)
    if format == "npz":
        return arrays.read_inputs(file)
    if format == "images":
        return images.read_unlabelled(file)
    if format in ("csv", "parquet"):
        features = data.preprocessing.get("features", [])
        return tables.read_features(file, format=format, features=features)
    raise TaskError(
        f"{file} holds {format}, and samples without labels are images, tables or arrays",
        hint="leave 'unlabelled' out",
    )


def _returned(found: Any, factory: str) -> Array:
    first = found[0] if isinstance(found, tuple) and found else found
    return arrays.inputs_of(first, "x", factory)


def _check_not_held_out(inputs: Array, held_out: Array, source: str) -> None:
    """Raises TaskError where samples to train on are, by their values, among those held out."""
    # With the same scale, to the last bit: what was equal before is equal now.
    ours, theirs = (
        digests(part, np.zeros(len(part), dtype=np.int64), [""]) for part in (inputs, held_out)
    )
    count = int(np.isin(ours, theirs).sum())
    if count:
        raise TaskError(
            f"{source}: {count:,} of {len(inputs):,} samples without labels are held out for "
            "measuring, and would be trained on",
            hint="take them out; those of the data itself that train_samples leaves out are "
            "unlabelled: rest",
        )
