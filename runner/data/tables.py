"""Tables in CSV and Parquet files: a column of labels, the others numeric features."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runner.data.classes import Array
from runner.data.dataset import Labelled
from runner.data.extras import need
from runner.errors import TaskError

if TYPE_CHECKING:
    import pyarrow


def read_table(path: Path, *, format: str, label: str | None, like: Mapping[str, Any]) -> Labelled:
    """The samples of a table, one a row.

    ``format`` is csv (in UTF-8, with a line of names, separated by commas, semicolons or tabs) or
    parquet; ``label`` is the column of classes, by default the last. ``like`` is the preprocessing
    of a model that the table is read for: its columns are taken by name, in its order, and its
    label column is the default. Raises TaskError, naming column and row (from 1, without the line
    of names), for a value that is missing or is no number, and for columns that are not as asked.
    """
    table = _read(path, format)
    names = table.column_names
    if len(names) < 2 or not table.num_rows:
        raise TaskError(
            f"{path} has {table.num_rows} rows of {len(names)} columns; it needs rows, a column of "
            "labels and at least one of features",
            hint="columns are separated by commas, semicolons or tabs" if format == "csv" else "",
        )
    label = label or like.get("label") or names[-1]
    if label not in names:
        raise TaskError(
            f"{path} has no column '{label}' for the labels", hint=f"there are: {', '.join(names)}"
        )
    features = [name for name in names if name != label]
    if "features" in like:
        check_features(path, features, like["features"])
        features = list(like["features"])
    return Labelled(
        inputs=_features(path, table, features),
        labels=labels_of(path, label, table.column(label)),
        features=tuple(features),
        label=label,
    )


def read_features(path: Path, *, format: str, features: Sequence[str]) -> Array:
    """The columns ``features`` of a table, float32 (rows, features), whatever others there are.

    Raises TaskError as ``read_table``.
    """
    table = _read(path, format)
    check_features(path, [name for name in table.column_names if name in features], [*features])
    return _features(path, table, features)


def _features(path: Path, table: pyarrow.Table, features: Sequence[str]) -> Array:
    inputs = np.empty((table.num_rows, len(features)), dtype=np.float32)
    for index, name in enumerate(features):
        inputs[:, index] = numbers(path, name, table.column(name))
    return inputs


def _read(path: Path, format: str) -> pyarrow.Table:
    """A table whose columns have names, each one of its own."""
    need("pyarrow", package="pyarrow", extra="files", what=f"a table in {format}")
    import pyarrow as pa

    try:
        table = _read_csv(path) if format == "csv" else _read_parquet(path)
    except (pa.ArrowException, OSError) as error:
        raise TaskError(f"{path} can't be read as {format}: {error}") from error
    names = table.column_names
    if format == "csv":
        _check_names(path, table)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise TaskError(f"{path} has two columns named '{twice}'", hint="rename one")
    return table


def parquet_files(path: Path) -> list[Path]:
    """The Parquet files at or below ``path``, sorted; hidden ones don't count."""
    if path.is_file():
        return [path]
    return [
        file
        for file in sorted(path.rglob("*.parquet"))
        if not any(part[0] in "._" for part in file.relative_to(path).parts)
    ]


def check_schema(file: Path, schema: pyarrow.Schema, first: Path, expected: pyarrow.Schema) -> None:
    """Raises TaskError unless a file has the columns, by name and type, of its folder's first."""
    faults = [f"lacks {name}" for name in expected.names if name not in schema.names]
    faults += [f"has besides {name}" for name in schema.names if name not in expected.names]
    faults += [
        f"has {schema.field(name).type} in {name}, where that has {expected.field(name).type}"
        for name in expected.names
        if name in schema.names and schema.field(name).type != expected.field(name).type
    ]
    if faults:
        raise TaskError(
            f"{file} does not have the columns of {first}: it {'; it '.join(faults[:4])}",
            hint="write all files of the folder with the same columns, or move this one elsewhere",
        )


def _read_parquet(path: Path) -> pyarrow.Table:
    import pyarrow as pa
    from pyarrow import parquet

    tables: list[pyarrow.Table] = []
    files = parquet_files(path)
    for file in files:
        try:
            table = parquet.ParquetFile(file).read()
        except (pa.ArrowException, OSError) as error:
            raise TaskError(f"{file} can't be read as parquet: {error}") from error
        if tables:
            check_schema(file, table.schema, files[0], tables[0].schema)
            table = table.select(tables[0].column_names)
        tables.append(table)
    if not tables:
        raise TaskError(f"no Parquet files lie in {path}", hint="their names end in .parquet")
    return pa.concat_tables(tables)


def _read_csv(path: Path) -> pyarrow.Table:
    import pyarrow as pa
    from pyarrow import csv

    content = path.read_bytes()
    _check_utf8(path, content)
    header = re.sub(rb'"[^"]*"', b"", content.partition(b"\n")[0])
    found = next((mark for mark in (b",", b";", b"\t") if mark in header), b",")
    return csv.read_csv(
        pa.BufferReader(content), parse_options=csv.ParseOptions(delimiter=found.decode())
    )


def _check_utf8(path: Path, content: bytes) -> None:
    # Guessing another encoding would turn some letters into others without a word.
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"byte 0x{content[error.start]:02x} in line {line} is none of UTF-8"
        likely = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "windows-1252"
        raise TaskError(
            f"{path} is not in UTF-8: {what}",
            hint="save it as UTF-8; if it was written on Windows: "
            f"iconv -f {likely} -t utf-8 {path.name}",
        ) from error


def _check_names(path: Path, table: pyarrow.Table) -> None:
    """Raises TaskError if the first line holds values and no names.

    It does if it is all numbers, unless they count up, or all but one, which stands again below.
    """
    names = table.column_names
    counts = [[str(start + index) for index in range(len(names) - 1)] for start in (0, 1)]
    words = [index for index, name in enumerate(names) if not _is_number(name)]
    is_values = not words and names[:-1] not in counts
    if len(words) == 1 and len(names) > 1:
        is_values = names[words[0]] in table.column(words[0]).to_pylist()
    if is_values:
        raise TaskError(
            f"the first line of {path} holds values and not the columns' names: "
            f"{', '.join(names[:6])}{', ...' if len(names) > 6 else ''}",
            hint="add a line of names above it, such as width,height,label",
        )


def check_features(path: Path, features: list[str], expected: list[str]) -> None:
    """Raises TaskError unless a table has just the columns that a model was trained on."""
    missing = [name for name in expected if name not in features]
    more = [name for name in features if name not in expected]
    faults = [
        f"{what} {', '.join(columns[:8])}{', ...' if len(columns) > 8 else ''}"
        for what, columns in (("lacks", missing), ("has besides", more))
        if columns
    ]
    if faults:
        raise TaskError(
            f"{path} does not have the {len(expected)} columns that the model was trained on: "
            f"it {' and '.join(faults)}",
            hint="name its columns as at training (their order does not matter), drop others, and "
            "name the column of classes with `label` if that is called otherwise",
        )


def numbers(path: Path, name: str, column: pyarrow.ChunkedArray, *, first: int = 0) -> Array:
    """A column of features as float64; it begins at row ``first`` of the file, counted from 0.

    Raises TaskError, naming column and row, for a value that is missing, not finite or no number.
    """
    import pyarrow as pa

    _check_complete(path, name, column, first)
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        # A column of numbers with one slip in it is read as text: the slip is what to name.
        texts = [str(value) for value in column.to_pylist()]
        row = next((index for index, text in enumerate(texts) if not _is_number(text)), 0)
        raise TaskError(
            f"{path}: column '{name}', row {first + row + 1}: {texts[row]!r} is not a number",
            hint="features must be numeric: encode the column, or name it as `label`",
        )
    values: Array = column.cast(pa.float64()).to_numpy()
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise TaskError(
            f"{path}: column '{name}', row {first + row + 1}: {values[row]} is not finite"
        )
    return values


def labels_of(path: Path, name: str, column: pyarrow.ChunkedArray, *, first: int = 0) -> Array:
    """A column of labels as numbers or texts; ``first`` and errors are as for ``numbers``."""
    _check_complete(path, name, column, first)
    values: Array = column.to_numpy()
    if values.dtype.kind in "iufb":
        return values
    texts = [str(value) for value in values]
    if "" in texts:
        raise _missing(path, name, first + texts.index(""))
    return np.array(texts)


def _check_complete(path: Path, name: str, column: pyarrow.ChunkedArray, first: int) -> None:
    if column.null_count:
        raise _missing(path, name, first + column.is_null().to_pylist().index(True))


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
