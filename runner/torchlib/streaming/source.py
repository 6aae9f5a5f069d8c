"""What a kind of files has to offer to be streamed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.data.dataset import Preparation
from runner.model import Columns, Read
from runner.torchlib.batches import Batching, Dealt
from runner.torchlib.streaming.moments import Scale

Indices: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Surveyed:
    """What the first pass over the files tells: a class for every row, and what the rows are.

    ``is_train`` is None where the files come without a split.
    """

    classes: tuple[str, ...]
    targets: NDArray[np.int64]
    input_shape: tuple[int, ...]
    is_train: NDArray[np.bool_] | None = None


class Epoch(NamedTuple):
    """A rank's samples of an epoch, and for some of them the order in which to read them.

    Samples are told by their numbers among those for training.
    """

    dealt: Dealt
    arrival: Callable[[Indices], Indices]


class Train(Protocol):
    """The samples for training, as they are read in every epoch."""

    def epoch(self, batching: Batching, *, rows: int, seed: int, epoch: int) -> Epoch:
        """What this rank has of an epoch, of which about so many ``rows`` are in memory at once."""

    def reads(self, samples: Indices) -> list[Read]:
        """Reads that yield the standardised ``inputs`` of these samples, in this order."""


class Source(Protocol):
    """The files at a path. What ranks share they tell each other between the methods' calls.

    ``dtype`` is that of raw values.
    """

    dtype: np.dtype[Any]

    def words(self) -> str:
        """What is there, such as ``12 Parquet files``."""

    def listing(self) -> str:
        """What tells whether another rank sees the same files."""

    def surveys(self) -> list[Read]:
        """Reads of what has to be known of every row before anything else, in the rows' order."""

    def summary(self, blocks: Iterator[Columns]) -> Any:
        """What a rank keeps of the blocks of its surveys."""

    def surveyed(self, summaries: list[Any], like: Preparation | None) -> Surveyed:
        """What all ranks' summaries, in the order of the rows, amount to."""

    def scans(self, surveyed: Surveyed, is_train: NDArray[np.bool_]) -> list[Read]:
        """Reads of all rows that yield ``partial``s, in the rows' order."""

    def preprocessing(self) -> Mapping[str, Any]:
        """What others need to know, besides mean and deviation, to read such data alike."""

    def train(self, surveyed: Surveyed, rows: Indices, scale: Scale) -> Train:
        """The rows for training."""
