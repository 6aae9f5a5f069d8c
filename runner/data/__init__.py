"""Data sets by name, by path or by factory, read whole into arrays: what every framework shares."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from runner.builtin import DataName, Format, format_of
from runner.data.dataset import Dataset, Preparation, from_labelled, from_parts
from runner.data.factories import call
from runner.errors import TaskError

__all__ = ["FORMATS", "NAMES", "Dataset", "Preparation", "load", "look_up"]

NAMES: tuple[str, ...] = get_args(DataName)
FORMATS: tuple[str, ...] = get_args(Format)

# One split of the data that comes with packages, whatever a task's seed: results on it compare.
_PACKAGED_SPLIT_SEED = 0


def load(
    *,
    name: str | None = None,
    path: str | None = None,
    format: str | None = None,
    factory: str | None = None,
    args: Mapping[str, Any] | None = None,
    label: str | None = None,
    test_fraction: float | None = None,
    seed: int = 0,
    block_size: int = 128,
    train_samples: int | None = None,
    keeps_rest: bool = False,
    unlabelled: Mapping[str, Any] | None = None,
    like: Preparation | None = None,
    is_scaled: bool = True,
) -> Dataset:
    """The data set that a spec's ``data`` names, by exactly one of ``name``, ``path``, ``factory``.

    name     one of ``NAMES``; ``stdlib`` takes the argument ``bytes``
    path     a file or folder of one of ``FORMATS``, by default told from its suffix or content
    factory  a function ``pkg.mod:fn``, called with ``args``, that returns a Dataset or the arrays
             (x_train, y_train, x_test, y_test)

    ``label`` is a table's column of classes, by default the last; ``test_fraction`` is held out
    where the data has no split of its own, chosen by ``seed`` for tables, arrays and image folders,
    fixed for named data, and the end of a text; ``block_size`` is the length of a text's sequences,
    in bytes. Of the samples to train on, ``train_samples`` are taken, by default all; the others
    stay as samples without labels where ``keeps_rest``, and others such are added from the source
    ``unlabelled``, a map of ``name``, ``path`` and so on (see ``runner.data.labels``).

    With ``like``, the data is made ready for a model that exists already: its classes in its order,
    its columns by name, its mean and deviation. By default, ``test_fraction`` is then that of the
    model's own training where this is the data it was trained on, and otherwise 1.0: everything is
    held out. Without ``like``, it is 0.2. Unless it ``is_scaled``, values stay as they are.

    Raises TaskError for whatever can't be read or does not make a data set.
    """
    data = _load(
        name=name,
        path=path,
        format=format,
        factory=factory,
        args=args or {},
        label=label,
        test_fraction=test_fraction,
        seed=seed,
        block_size=block_size,
        like=like,
        is_scaled=is_scaled,
    )
    if data.task == "embedding" and is_scaled and (like is None or like.task != "embedding"):
        raise TaskError(
            "the data has samples without labels, and this task needs to know what is right",
            hint="return (x_train, y_train, x_test, y_test); without labels a model can be "
            "evaluated, quantized, fused and exported",
        )
    if train_samples is not None:
        from runner.data.labels import limited

        is_rescaled = like is None and unlabelled is None
        data = limited(data, train_samples, keeps_rest=keeps_rest, is_rescaled=is_rescaled)
    if unlabelled is not None:
        from runner.data.unlabelled import with_unlabelled

        data = with_unlabelled(data, **unlabelled)
    return data


def _load(
    *,
    name: str | None,
    path: str | None,
    format: str | None,
    factory: str | None,
    args: Mapping[str, Any],
    label: str | None,
    test_fraction: float | None,
    seed: int,
    block_size: int,
    like: Preparation | None,
    is_scaled: bool,
) -> Dataset:
    given = [value for value in (name, path, factory) if value is not None]
    if len(given) != 1:
        raise TaskError(
            f"data needs one of name, path and factory, and {len(given)} of them are given"
        )
    if factory is not None:
        from runner.data.arrays import from_factory

        return from_factory(factory, args, like, is_scaled=is_scaled)
    if name is not None:
        return _named(
            name,
            args,
            test_fraction=test_fraction,
            block_size=block_size,
            like=like,
            is_scaled=is_scaled,
        )
    if args:
        raise TaskError("data by path takes no args", hint="args are for a factory or for stdlib")
    file, format = look_up(str(path), format)
    if format == "text":
        from runner.data.text import from_text, read_text

        return from_text(
            read_text(file), block_size=block_size, test_fraction=test_fraction, like=like
        )
    if format == "npz":
        from runner.data.arrays import read_npz

        return read_npz(
            file, test_fraction=test_fraction, seed=seed, like=like, is_scaled=is_scaled
        )
    if format == "images":
        from runner.data.images import parts, read_images

        both = parts(file)
        if both is not None:
            train, test = (read_images(part) for part in both)
            return from_parts(train, test, like=like, is_scaled=is_scaled)
        rows = read_images(file)
    else:
        from runner.data.tables import read_table

        rows = read_table(file, format=format, label=label, like=like.preprocessing if like else {})
    return from_labelled(
        rows, test_fraction=test_fraction, seed=seed, like=like, is_scaled=is_scaled
    )


def _named(
    name: str,
    args: Mapping[str, Any],
    *,
    test_fraction: float | None,
    block_size: int,
    like: Preparation | None,
    is_scaled: bool,
) -> Dataset:
    from runner.data.packaged import digits, mnist5k
    from runner.data.text import from_text, stdlib

    if name == "stdlib":
        text = call("data stdlib", stdlib, args)
        return from_text(text, block_size=block_size, test_fraction=test_fraction, like=like)
    images = {"digits": digits, "mnist5k": mnist5k}
    if name not in images:
        near = difflib.get_close_matches(name, NAMES, n=1)
        raise TaskError(
            f"there is no data named '{name}'; there are: {', '.join(NAMES)}",
            hint=f"did you mean '{near[0]}'?" if near else "or give a path, or a factory",
        )
    labelled = call(f"data {name}", images[name], args)
    return from_labelled(
        labelled,
        test_fraction=test_fraction,
        seed=_PACKAGED_SPLIT_SEED,
        like=like,
        is_scaled=is_scaled,
    )


def look_up(path: str, format: str | None) -> tuple[Path, str]:
    """What lies at ``path``, and its format, which is told from its name or content unless given.

    Raises TaskError if nothing lies there, or its format can't be told.
    """
    file = Path(path)
    if not file.exists():
        raise TaskError(
            f"there is no file or folder {file}", hint="relative paths start at the spec"
        )
    return file, _format(file) if format is None else format


def _format(path: Path) -> str:
    if path.is_dir():
        from runner.data.images import check_layout, image_files, parts
        from runner.data.tables import parquet_files

        if parts(path) is not None or image_files(path):
            return "images"
        if parquet_files(path):
            return "parquet"
        check_layout(path)
        return "text"
    format = format_of(path.name)
    if format is None:
        raise TaskError(
            f"can't tell what {path.name} holds by its suffix",
            hint=f"say so with `format`: {', '.join(FORMATS)}",
        )
    return format
