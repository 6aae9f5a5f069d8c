"""The batches of an epoch: permuted once, gathered in large pieces, handed out as slices."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from runner.torchlib.layout import arrange

# How much is gathered at once. A gather per batch costs more than the step of a small model; a
# gather of everything would hold the data twice.
_PIECE_BYTES = 64_000_000

Batch = tuple[Tensor, ...]


def derive_seed(seed: int, purpose: str, index: int) -> int:
    """A seed for one use of randomness, apart from that of every other seed, purpose and index."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def epoch_order(samples: int, *, seed: int, epoch: int) -> Tensor:
    """The order of an epoch: a permutation of the samples' indices."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    return torch.randperm(samples, generator=generator)


def epoch_windows(
    columns: Sequence[Tensor],
    *,
    global_batch_size: int,
    micro_batch_size: int,
    seed: int,
    epoch: int,
    device: str,
    layout: torch.memory_format,
) -> Iterator[list[Batch]]:
    """The windows of an epoch: each is the micro-batches of one optimizer step.

    ``columns`` are tensors with one row a sample: inputs, targets, and whatever the objective
    needs besides. The order depends on ``seed`` and ``epoch`` alone. The last window holds what is
    left over, in micro-batches of which the last may be short. Bytes become int64, the type that
    embeddings and losses index with; inputs are put into ``layout``.
    """
    samples = len(columns[0])
    order = epoch_order(samples, seed=seed, epoch=epoch).to(columns[0].device)
    bytes_per_window = global_batch_size * sum(_row_bytes(column) for column in columns)
    piece_size = global_batch_size * max(1, _PIECE_BYTES // max(1, bytes_per_window))
    for indices in torch.split(order, piece_size):
        piece = [_gather(column, indices, device) for column in columns]
        piece[0] = arrange(piece[0], layout)
        windows = zip(*(torch.split(column, global_batch_size) for column in piece), strict=True)
        for window in windows:
            if global_batch_size <= micro_batch_size:
                yield [window]
            else:
                micro = (torch.split(column, micro_batch_size) for column in window)
                yield list(zip(*micro, strict=True))


def _row_bytes(column: Tensor) -> int:
    width = 8 if column.dtype == torch.uint8 else column.element_size()
    return width * (column.numel() // max(1, len(column)))


def _gather(column: Tensor, indices: Tensor, device: str) -> Tensor:
    rows = column.index_select(0, indices).to(device)
    return rows.long() if rows.dtype == torch.uint8 else rows
