"""Tables in CSV and Parquet files: a column of labels, the others numeric features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runner.errors import TaskError
from runner.torchlib.data.dataset import Array, Labelled
from runner.torchlib.data.extras import need

if TYPE_CHECKING:
    import pyarrow


def read_table(path: Path, *, format: str, label: str | None) -> tuple[Labelled, list[str]]:
    """The samples of a table, one a row, and the names of their features.

    ``format`` is csv (with a line of names) or parquet; ``label`` is the column of classes, by
    default the last. Raises TaskError, naming column and row (from 1, without the line of names),
    for a value that is missing or is no number, and if there is no such column.
    """
    need("pyarrow", package="pyarrow", extra="files", what=f"a table in {format}")
    import pyarrow as pa

    try:
        table = _read(path, format)
    except (pa.ArrowException, OSError) as error:
        raise TaskError(f"{path} can't be read as {format}: {error}") from error
    names = table.column_names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise TaskError(f"{path} has two columns named '{twice}'", hint="rename one")
    if len(names) < 2 or not table.num_rows:
        raise TaskError(
            f"{path} has {table.num_rows} rows of {len(names)} columns; it needs rows, a column of "
            "labels and at least one of features"
        )
    label = names[-1] if label is None else label
    if label not in names:
        raise TaskError(
            f"{path} has no column '{label}' for the labels", hint=f"there are: {', '.join(names)}"
        )
    features = [name for name in names if name != label]
    inputs = np.empty((table.num_rows, len(features)), dtype=np.float32)
    for index, name in enumerate(features):
        inputs[:, index] = _numbers(path, name, table.column(name))
    return Labelled(inputs=inputs, labels=_labels(path, label, table.column(label))), features


def _read(path: Path, format: str) -> pyarrow.Table:
    if format == "csv":
        from pyarrow import csv

        return csv.read_csv(path)
    from pyarrow import parquet

    return parquet.read_table(path)


def _numbers(path: Path, name: str, column: pyarrow.ChunkedArray) -> Array:
    import pyarrow as pa

    _check_complete(path, name, column)
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        # A column of numbers with one slip in it is read as text: the slip is what to name.
        texts = [str(value) for value in column.to_pylist()]
        row = next((index for index, text in enumerate(texts) if not _is_number(text)), 0)
        raise TaskError(
            f"{path}: column '{name}', row {row + 1}: {texts[row]!r} is not a number",
            hint="features must be numeric: encode the column, or name it as `label`",
        )
    values: Array = column.cast(pa.float64()).to_numpy()
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise TaskError(f"{path}: column '{name}', row {row + 1}: {values[row]} is not finite")
    return values


def _labels(path: Path, name: str, column: pyarrow.ChunkedArray) -> Array:
    _check_complete(path, name, column)
    values: Array = column.to_numpy()
    if values.dtype.kind in "iufb":
        return values
    texts = [str(value) for value in values]
    if "" in texts:
        raise _missing(path, name, texts.index(""))
    return np.array(texts)


def _check_complete(path: Path, name: str, column: pyarrow.ChunkedArray) -> None:
    if column.null_count:
        raise _missing(path, name, column.is_null().to_pylist().index(True))


def _missing(path: Path, name: str, index: int) -> TaskError:
    return TaskError(
        f"{path}: column '{name}', row {index + 1}: the value is missing",
        hint="fill it in, or drop the row",
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
