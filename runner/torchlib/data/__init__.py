"""Data sets by name, by path or by factory, read whole into tensors."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.errors import TaskError
from runner.torchlib.data.dataset import Dataset, from_labelled
from runner.torchlib.factories import call

__all__ = ["FORMATS", "NAMES", "Dataset", "load"]

NAMES = ("digits", "mnist5k", "stdlib")
FORMATS = ("csv", "parquet", "npz", "images", "text")

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
    test_fraction: float = 0.2,
    seed: int = 0,
    block_size: int = 128,
) -> Dataset:
    """The data set that a spec's ``data`` names, by exactly one of ``name``, ``path``, ``factory``.

    name     one of ``NAMES``; ``stdlib`` takes the argument ``bytes``
    path     a file or folder of one of ``FORMATS``, by default told from its suffix or content
    factory  a function ``pkg.mod:fn``, called with ``args``, that returns a Dataset or the arrays
             (x_train, y_train, x_test, y_test)

    ``label`` is a table's column of classes; ``test_fraction`` is held out where the data has no
    split of its own, chosen by ``seed`` for tables, arrays and image folders, fixed for named data,
    and the end of a text; ``block_size`` is the length of a text's sequences, in bytes. Raises
    TaskError for whatever can't be read or does not make a data set.
    """
    given = [value for value in (name, path, factory) if value is not None]
    if len(given) != 1:
        raise TaskError(
            f"data needs one of name, path and factory, and {len(given)} of them are given"
        )
    args = args or {}
    if factory is not None:
        from runner.torchlib.data.arrays import from_factory

        return from_factory(factory, args)
    if name is not None:
        return _named(name, args, test_fraction=test_fraction, block_size=block_size)
    if args:
        raise TaskError("data by path takes no args", hint="args are for a factory or for stdlib")
    file = Path(str(path))
    if not file.exists():
        raise TaskError(
            f"there is no file or folder {file}", hint="relative paths start at the spec"
        )
    format = _format(file) if format is None else format
    if format == "text":
        from runner.torchlib.data.text import from_text, read_text

        return from_text(read_text(file), block_size=block_size, test_fraction=test_fraction)
    if format == "npz":
        from runner.torchlib.data.arrays import read_npz

        return read_npz(file, test_fraction=test_fraction, seed=seed)
    if format == "images":
        from runner.torchlib.data.images import read_images

        return from_labelled(read_images(file), test_fraction=test_fraction, seed=seed)
    from runner.torchlib.data.tables import read_table

    rows, features = read_table(file, format=format, label=label)
    return from_labelled(rows, test_fraction=test_fraction, seed=seed, feature_names=features)


def _named(name: str, args: Mapping[str, Any], *, test_fraction: float, block_size: int) -> Dataset:
    from runner.torchlib.data.packaged import digits, mnist5k
    from runner.torchlib.data.text import from_text, stdlib

    if name == "stdlib":
        text = call("data stdlib", stdlib, args)
        return from_text(text, block_size=block_size, test_fraction=test_fraction)
    images = {"digits": digits, "mnist5k": mnist5k}
    if name not in images:
        near = difflib.get_close_matches(name, NAMES, n=1)
        raise TaskError(
            f"there is no data named '{name}'; there are: {', '.join(NAMES)}",
            hint=f"did you mean '{near[0]}'?" if near else "or give a path, or a factory",
        )
    labelled = call(f"data {name}", images[name], args)
    return from_labelled(labelled, test_fraction=test_fraction, seed=_PACKAGED_SPLIT_SEED)


def _format(path: Path) -> str:
    if path.is_dir():
        from runner.torchlib.data.images import image_files

        return "images" if image_files(path) else "text"
    suffixes = {
        ".csv": "csv",
        ".parquet": "parquet",
        ".npz": "npz",
        ".txt": "text",
        ".md": "text",
        ".py": "text",
    }
    if path.suffix.lower() not in suffixes:
        raise TaskError(
            f"can't tell what {path.name} holds by its suffix",
            hint=f"say so with `format`: {', '.join(FORMATS)}",
        )
    return suffixes[path.suffix.lower()]
