"""Parquet files as a source of a stream: their row groups are what is read at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.data.classes import Array, named
from runner.data.dataset import Preparation
from runner.data.extras import need
from runner.data.tables import check_features, check_schema, parquet_files
from runner.errors import TaskError
from runner.model import Columns, Read
from runner.torchlib.batches import Batching
from runner.torchlib.streaming.moments import Scale
from runner.torchlib.streaming.order import deal_groups, group_order
from runner.torchlib.streaming.source import Epoch, Indices, Surveyed
from runner.torchlib.streaming.table_reads import (
    LabelRead,
    RowGroup,
    TableRows,
    TableScan,
    packed,
)


class Tables:
    """The Parquet files at ``path``; the column ``label``, by default the last, has the classes.

    Opening reads the files' footers alone. Raises TaskError, naming the file, for one that can't be
    read or has other columns than the first.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, path: Path, *, label: str | None, like: Mapping[str, Any]) -> None:
        need("pyarrow", package="pyarrow", extra="files", what="a table in parquet")
        import pyarrow as pa
        from pyarrow import parquet

        self.files = parquet_files(path)
        self.groups: list[RowGroup] = []
        first = None
        for file in self.files:
            try:
                with parquet.ParquetFile(file) as opened:
                    schema, metadata = opened.schema_arrow, opened.metadata
            except (pa.ArrowException, OSError) as error:
                raise TaskError(
                    f"{file} can't be read as parquet: {error}",
                    hint="write the file again, or move it elsewhere",
                ) from error
            first = schema if first is None else first
            check_schema(file, schema, self.files[0], first)
            row = 0
            for number in range(metadata.num_row_groups):
                rows = metadata.row_group(number).num_rows
                self.groups.append(RowGroup(file=str(file), number=number, first=row, rows=rows))
                row += rows
        self.starts = np.cumsum([0, *(group.rows for group in self.groups)])
        names = [] if first is None else first.names
        if len(names) < 2 or not self.starts[-1]:
            raise TaskError(
                f"{path} has {self.starts[-1]} rows of {len(names)} columns in {self.words()}; it "
                "needs rows, a column of labels and at least one of features"
            )
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise TaskError(f"{path} has two columns named '{twice}'", hint="rename one")
        self.label: str = label or like.get("label") or names[-1]
        if self.label not in names:
            raise TaskError(
                f"{path} has no column '{self.label}' for the labels",
                hint=f"there are: {', '.join(names)}",
            )
        features = [name for name in names if name != self.label]
        if "features" in like:
            check_features(path, features, like["features"])
            features = list(like["features"])
        self.features = tuple(features)

    def words(self) -> str:
        """How many files and row groups there are."""
        files, groups = len(self.files), len(self.groups)
        return (
            f"{files:,} Parquet file{'' if files == 1 else 's'} of {groups:,} row "
            f"group{'' if groups == 1 else 's'}"
        )

    def listing(self) -> str:
        """A digest of all row groups."""
        return hashlib.sha256(repr((self.groups, self.features)).encode()).hexdigest()

    def surveys(self) -> list[Read]:
        """Reads of the labels."""
        return [LabelRead(group=group, label=self.label) for group in self.groups if group.rows]

    def summary(self, blocks: Iterator[Columns]) -> tuple[Array, NDArray[np.int32]]:
        """The labels that occur, and of each row which of them it has."""
        found: dict[Any, int] = {}
        numbers = [np.empty(0, dtype=np.int32)]
        for block in blocks:
            values, inverse = np.unique(block["labels"], return_inverse=True)
            known = [found.setdefault(value, len(found)) for value in values.tolist()]
            numbers.append(np.array(known, dtype=np.int32)[inverse])
        return np.array(list(found)), np.concatenate(numbers)

    def surveyed(
        self, summaries: list[tuple[Array, NDArray[np.int32]]], like: Preparation | None
    ) -> Surveyed:
        """The classes that the labels are."""
        values = np.concatenate([found for found, _ in summaries if len(found)])
        found, inverse = np.unique(values, return_inverse=True)
        samples = int(self.starts[-1])
        classes, numbers = named(found, samples=samples, known=like.classes if like else None)
        targets, start = np.empty(samples, dtype=np.int64), 0
        seen = 0
        for its, codes in summaries:
            mine = numbers[inverse[seen : seen + len(its)]]
            targets[start : start + len(codes)] = mine[codes] if len(its) else ()
            seen, start = seen + len(its), start + len(codes)
        return Surveyed(classes=classes, targets=targets, input_shape=(len(self.features),))

    def scans(self, surveyed: Surveyed, is_train: NDArray[np.bool_]) -> list[Read]:
        """One for each row group."""
        return [
            TableScan(
                group=group,
                features=self.features,
                label=self.label,
                classes=surveyed.classes,
                is_train=packed(is_train[start : start + group.rows]),
            )
            for group, start in zip(self.groups, self.starts[:-1].tolist(), strict=True)
            if group.rows
        ]

    def preprocessing(self) -> Mapping[str, Any]:
        """The columns."""
        return {"features": list(self.features), "label": self.label}

    def train(self, surveyed: Surveyed, rows: Indices, scale: Scale) -> TrainTables:
        """The rows for training."""
        return TrainTables(self, rows, scale)


class TrainTables:
    """The rows for training, told by their numbers among these; ``rows`` are those among all."""

    def __init__(self, tables: Tables, rows: Indices, scale: Scale) -> None:
        self._tables = tables
        self._rows = rows
        self._scale = scale
        # Of each row group, the number of its first row among those for training.
        self._starts = np.searchsorted(rows, tables.starts)

    def epoch(self, batching: Batching, *, rows: int, seed: int, epoch: int) -> Epoch:
        """Row groups in another order each time, and their rows shuffled in pools of ``rows``."""
        order = group_order(len(self._starts) - 1, seed=seed, epoch=epoch).numpy()
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        dealt = deal_groups(self._starts, batching, rows=rows, seed=seed, epoch=epoch)
        return Epoch(dealt, partial(self._arrival, place))

    def _arrival(self, place: Indices, samples: Indices) -> Indices:
        """As they lie in the files, of row groups in the epoch's order."""
        return np.lexsort((samples, place[self._groups(samples)]))

    def _groups(self, samples: Indices) -> Indices:
        return np.searchsorted(self._starts, samples, side="right") - 1

    def reads(self, samples: Indices) -> list[Read]:
        """One for each run of samples that lie in a row group, one after the other."""
        if not len(samples):
            return []
        groups = self._groups(samples)
        cuts = np.flatnonzero((np.diff(groups) != 0) | (np.diff(samples) <= 0)) + 1
        reads: list[Read] = []
        for run in np.split(np.arange(len(samples)), cuts):
            number = int(groups[run[0]])
            group = self._tables.groups[number]
            wanted = np.zeros(group.rows, dtype=bool)
            wanted[self._rows[samples[run]] - self._tables.starts[number]] = True
            reads.append(
                TableRows(
                    group=group,
                    features=self._tables.features,
                    wanted=packed(wanted),
                    scale=self._scale,
                )
            )
        return reads
