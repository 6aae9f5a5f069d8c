"""Data sets on disk, and the streaming of them without Ray: the reads, one after the other."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from runner.data import Preparation, look_up
from runner.model import Columns, Read
from runner.torchlib.data import Dataset
from runner.torchlib.streaming.survey import survey

FEATURES = 5


def here(reads: Sequence[Read]) -> Generator[Columns, None, None]:
    """What a stream gives, read in this process."""
    for read in reads:
        yield from read()


def table(rows: int, seed: int, classes: Sequence[str] = ("cat", "dog", "fox")) -> pa.Table:
    random = np.random.default_rng(seed)
    targets = random.integers(0, len(classes), rows)
    values = random.normal(size=(rows, FEATURES)) * [1, 5, 0.1, 1, 100] + targets[:, None]
    columns = {f"f{number}": values[:, number] for number in range(FEATURES)}
    return pa.table({**columns, "kind": np.array(classes)[targets]})


def write_tables(folder: Path, files: Sequence[int], *, group: int = 20) -> Path:
    """A folder of Parquet files of so many rows each, in row groups of so many at most."""
    folder.mkdir()
    for number, rows in enumerate(files):
        parquet.write_table(
            table(rows, number), folder / f"part-{number}.parquet", row_group_size=group
        )
    return folder


def write_images(folder: Path, count: int, *, modes: Sequence[str] = ("L",), seed: int = 0) -> Path:
    """So many images of each of two classes, 5 wide and 4 high."""
    random = np.random.default_rng(seed)
    for index, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 200, (4, 5)) + 50 * index
            image = Image.fromarray(pixels.astype(np.uint8)).convert(modes[number % len(modes)])
            image.save(folder / name / f"{number:03}.png")
    return folder


def streamed(path: Path, like: Preparation | None = None, **about: Any) -> Dataset:
    file, format = look_up(str(path), about.pop("format", None))
    settings: dict[str, Any] = {"label": None, "test_fraction": 0.25, "stream": here, **about}
    return survey(file, format=format, like=like, **settings)
