"""What the ranks of a gang tell each other about data of which each has read a part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist

from runner.data.classes import Array

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
    """The rows of all ranks in the order of ranks, without a second copy of any of them."""
    if count_ranks() == 1:
        return mine
    sizes = gathered(len(mine))
    rows = np.empty((sum(sizes), *mine.shape[1:]), dtype=mine.dtype)
    start = 0
    for rank, size in enumerate(sizes):
        if rank == _rank():
            rows[start : start + size] = mine
        if size:
            content = rows[start : start + size].reshape(-1).view(np.uint8)
            dist.broadcast(torch.from_numpy(content), src=rank)
        start += size
    return rows


def count_ranks() -> int:
    """How many there are; one where no gang was joined."""
    return dist.get_world_size() if dist.is_initialized() else 1


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0
