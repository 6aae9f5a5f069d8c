"""What the reading processes do with Parquet files: a row group each, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runner.data.classes import Array, classes_of
from runner.data.tables import labels_of, numbers
from runner.errors import TaskError
from runner.model import Columns
from runner.torchlib.streaming.moments import Scale, partial, standardised

if TYPE_CHECKING:
    import pyarrow

# What a read yields at once, of values in float32.
BLOCK_BYTES = 4_000_000
_LABELS_AT_ONCE = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class RowGroup:
    """A row group of a file, which begins at row ``first`` of it and has so many ``rows``."""

    file: str
    number: int
    first: int
    rows: int

    def read(self, columns: list[str], at_once: int) -> Iterator[tuple[int, pyarrow.Table]]:
        """These columns, some rows at a time, with the row of the group that they begin at."""
        import pyarrow as pa
        from pyarrow import parquet

        start = 0
        try:
            # Not buffered ahead: that would hold the row group's columns whole.
            with parquet.ParquetFile(self.file, pre_buffer=False) as file:
                for batch in file.iter_batches(
                    at_once, row_groups=[self.number], columns=columns, use_threads=False
                ):
                    yield start, pa.Table.from_batches([batch])
                    start += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise TaskError(
                f"{self.file} can't be read as parquet, in row group {self.number}: {error}",
                hint="write the file again, or move it elsewhere",
            ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelRead:
    """The labels of a row group."""

    group: RowGroup
    label: str

    def __call__(self) -> Iterator[Columns]:
        """Yields ``labels``."""
        path = Path(self.group.file)
        for start, table in self.group.read([self.label], _LABELS_AT_ONCE):
            column, first = table.column(self.label), self.group.first + start
            yield {"labels": labels_of(path, self.label, column, first=first)}


@dataclass(frozen=True, kw_only=True, slots=True)
class TableScan:
    """All rows of a row group summed up; ``is_train`` has a bit for each, packed."""

    group: RowGroup
    features: tuple[str, ...]
    label: str
    classes: tuple[str, ...]
    is_train: bytes

    def __call__(self) -> Iterator[Columns]:
        """Yields partials."""
        path = Path(self.group.file)
        is_train = unpacked(self.is_train, self.group.rows)
        by_name = np.argsort(np.array(self.features))
        for start, table in self.group.read([*self.features, self.label], at_once(self.features)):
            first = self.group.first + start
            labels = labels_of(path, self.label, table.column(self.label), first=first)
            yield partial(
                _inputs(path, self.features, table, first),
                classes_of(labels, self.classes)[1],
                self.classes,
                is_train[start : start + table.num_rows],
                by_name=by_name,
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class TableRows:
    """Some rows of a row group, standardised; ``wanted`` has a bit for each of all, packed."""

    group: RowGroup
    features: tuple[str, ...]
    wanted: bytes
    scale: Scale

    def __call__(self) -> Iterator[Columns]:
        """Yields ``inputs``, in the order of the file."""
        path = Path(self.group.file)
        wanted = unpacked(self.wanted, self.group.rows)
        last = int(np.flatnonzero(wanted)[-1])
        for start, table in self.group.read(list(self.features), at_once(self.features)):
            rows = np.flatnonzero(wanted[start : start + table.num_rows])
            if len(rows):
                inputs = _inputs(path, self.features, table, self.group.first + start)
                yield {"inputs": standardised(inputs[rows], self.scale)}
            if start + table.num_rows > last:
                return


def at_once(features: tuple[str, ...]) -> int:
    """How many rows make up a block."""
    return max(1, BLOCK_BYTES // (4 * len(features)))


def packed(rows: NDArray[np.bool_]) -> bytes:
    """A bit for each row."""
    return np.packbits(rows).tobytes()


def unpacked(bits: bytes, rows: int) -> NDArray[np.bool_]:
    """What ``packed`` packed."""
    return np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=rows).astype(bool)


def _inputs(path: Path, features: tuple[str, ...], table: pyarrow.Table, first: int) -> Array:
    inputs = np.empty((table.num_rows, len(features)), dtype=np.float32)
    for index, name in enumerate(features):
        inputs[:, index] = numbers(path, name, table.column(name), first=first)
    return inputs
