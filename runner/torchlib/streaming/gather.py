"""What the ranks of a gang tell each other about data of which each has read a part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist

from runner.data.classes import Array

_MOVED_BYTES = 4_000_000

T = TypeVar("T")


def part(items: Sequence[T]) -> list[T]:
    """The items that are this rank's, of all in a row: about as many as every other has."""
    cuts = [len(items) * rank // count_ranks() for rank in (_rank(), _rank() + 1)]
    return list(items[cuts[0] : cuts[1]])


def gathered(value: T) -> list[T]:
    """What every rank gives, in the order of ranks. Every rank must call it."""
    if count_ranks() == 1:
        return [value]
    found: list[T] = [value] * count_ranks()
    dist.all_gather_object(found, value)
    return found


def joined(mine: Array) -> Array:
    """The rows of all ranks in the order of ranks."""
    rows = np.empty((sum(gathered(len(mine))), *mine.shape[1:]), dtype=mine.dtype)
    rows[: len(mine)] = mine
    exchange(rows, len(mine))
    return rows


def exchange(rows: Array, mine: int) -> None:
    """Puts the rows of all ranks into ``rows``, which has room for just these, in their order.

    At first it holds those of this rank, so many as ``mine``, at its beginning. None is held twice.
    """
    if count_ranks() == 1:
        return
    sizes = gathered(mine)
    start = sum(sizes[: _rank()])
    # From the last one on, so that none is overwritten before it has moved.
    at_once = max(1, _MOVED_BYTES // max(1, rows[:1].nbytes))
    for stop in range(mine if start else 0, 0, -at_once):
        first = max(0, stop - at_once)
        rows[start + first : start + stop] = rows[first:stop]
    start = 0
    for rank, size in enumerate(sizes):
        if size:
            content = rows[start : start + size].reshape(-1).view(np.uint8)
            dist.broadcast(torch.from_numpy(content), src=rank)
        start += size


def count_ranks() -> int:
    """How many there are; one where no gang was joined."""
    return dist.get_world_size() if dist.is_initialized() else 1


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0
