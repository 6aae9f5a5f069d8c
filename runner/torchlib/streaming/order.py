"""The order of an epoch in which rows that lie together are read together."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runner.torchlib.batches import Batching, Dealt, derive_seed


def group_order(groups: int, *, seed: int, epoch: int) -> Tensor:
    """The order in which an epoch reads so many groups of rows: a permutation of their numbers."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "groups", epoch))
    return torch.randperm(groups, generator=generator)


def deal_groups(
    starts: NDArray[np.int64], batching: Batching, *, rows: int, seed: int, epoch: int
) -> Dealt:
    """A rank's samples of an epoch, of data whose samples lie in groups.

    Group ``i`` has the samples from ``starts[i]`` up to ``starts[i + 1]``. All groups in the
    epoch's order make one line, of which every rank takes a piece of as many samples as it needs
    for its part in the epoch's windows: they differ by a few, and only ranks that are next to each
    other have one group between them. Along its piece, a rank's samples are permuted in pools of
    about so many ``rows``, those that are in memory at once: whole windows of them.

    The order depends on ``seed``, ``epoch``, and the number of ranks and the size of a batch, and
    on nothing that happens. Where a training goes on with another number of ranks, the rest of the
    epoch that it was in is thus dealt anew: some of its samples come twice and some not at all.
    """
    order = group_order(len(starts) - 1, seed=seed, epoch=epoch).numpy()
    line = torch.from_numpy(
        np.concatenate([np.arange(starts[group], starts[group + 1]) for group in order])
    )
    share = batching.share
    sizes = [sum(_sizes(len(line), batching, index)) for index in range(share.count)]
    begin = sum(sizes[: share.index])
    mine = line[begin : begin + sizes[share.index]]
    pools = []
    for number, pool in enumerate(torch.split(mine, batching.piece_size(rows))):
        generator = torch.Generator().manual_seed(
            derive_seed(seed, "pool", epoch, share.index, number)
        )
        pools.append(pool[torch.randperm(len(pool), generator=generator)])
    mine = torch.cat(pools) if len(mine) else mine
    whole, *last = _sizes(len(line), batching, share.index)
    filler = mine[:1] if len(mine) else line[:1]  # counts nowhere, so any row will do
    return Dealt(
        whole=mine[:whole],
        last=[(rows, filler) for rows in torch.split(mine[whole:], last)] if last else [],
        samples=len(line),
    )


def _sizes(samples: int, batching: Batching, index: int) -> list[int]:
    """How many samples a rank has in whole windows, and in each portion of the last one."""
    whole, count = batching.whole(samples), batching.share.count
    left, chunk = samples - whole, batching.micro_batch_size * count
    chunks = [min(chunk, left - start) for start in range(0, left, chunk)]
    # As torch.tensor_split divides them.
    return [whole // count, *(size // count + (index < size % count) for size in chunks)]
