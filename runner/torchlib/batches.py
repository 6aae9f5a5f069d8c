"""The batches of an epoch: permuted once, gathered in large pieces, handed out as slices."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from runner.torchlib.layout import arrange
from runner.torchlib.transfer import gather

# How much is gathered at once. A gather per batch costs more than the step of a small model; a
# gather of everything would hold the data twice.
_PIECE_BYTES = 64_000_000

Batch = tuple[Tensor, ...]
Change = Callable[[Tensor, Tensor], Tensor]
"""Inputs, and the indices of their samples (on the CPU), to the inputs to train on."""


@dataclass(frozen=True, slots=True)
class Share:
    """The part of every batch that is one rank's: the ``index``-th of ``count`` equal ones."""

    index: int = 0
    count: int = 1


class Portion(NamedTuple):
    """What one forward pass sees: rows of every column, of which the first ``kept`` count.

    The others fill up a batch whose shape has to be that of every other.
    """

    columns: Batch
    kept: int


class Window(NamedTuple):
    """The portions of one optimizer step on this rank, and the samples of all ranks in it."""

    portions: list[Portion]
    samples: int


def derive_seed(seed: int, purpose: str, *indices: int) -> int:
    """A seed for one use of randomness, apart from that of every other seed, purpose and index."""
    where = "/".join(str(index) for index in indices)
    digest = hashlib.blake2b(f"{seed}/{purpose}/{where}".encode(), digest_size=8).digest()
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
    share: Share = Share(),
    is_padded: bool = False,
    first: int = 0,
    change: Change | None = None,
) -> Iterator[Window]:
    """The windows of an epoch from its ``first`` on: each is what one optimizer step sees.

    ``columns`` are tensors with one row a sample: inputs, targets, and whatever the objective
    needs besides. The order depends on ``seed`` and ``epoch`` alone, and which samples make a
    window does not depend on how many ranks share it. The last window holds what is left over,
    dealt out evenly: a rank that gets nothing of a portion has one of which no row counts, so that
    all ranks go through as many. With ``is_padded`` every portion has ``micro_batch_size`` rows and
    every window as many portions.

    With several ranks, ``global_batch_size`` must be a multiple of theirs times
    ``micro_batch_size``. Bytes become int64, the type that embeddings and losses index with; inputs
    are put through ``change`` and into ``layout``.
    """
    order = epoch_order(len(columns[0]), seed=seed, epoch=epoch)[first * global_batch_size :]
    is_alone = share.count == 1 and not is_padded
    whole = len(order) if is_alone else len(order) - len(order) % global_batch_size
    own = global_batch_size // share.count
    mine = order[:whole]
    if share.count > 1:
        mine = mine.view(-1, own // micro_batch_size, share.count, micro_batch_size)
        mine = mine[:, :, share.index].reshape(-1)
    bytes_per_window = own * sum(_row_bytes(column) for column in columns)
    piece_size = own * max(1, _PIECE_BYTES // max(1, bytes_per_window))
    for indices in torch.split(mine, piece_size) if whole else ():
        piece = _gather_all(columns, indices, device, layout, change)
        for window in zip(*(torch.split(column, own) for column in piece), strict=True):
            samples = len(window[0]) * share.count
            if own <= micro_batch_size:
                yield Window([Portion(window, len(window[0]))], samples)
            else:
                parts = zip(
                    *(torch.split(column, micro_batch_size) for column in window), strict=True
                )
                yield Window([Portion(part, len(part[0])) for part in parts], samples)
    if whole < len(order):
        left = order[whole:]
        dealt = _deal(left, micro_batch_size, share)
        if is_padded:
            filler = (left[:0], left[:micro_batch_size])
            dealt += [filler] * (own // micro_batch_size - len(dealt))
        portions = []
        for indices, others in dealt:
            kept = len(indices)
            if is_padded:
                indices = _fill(torch.cat([indices, others]), micro_batch_size)
            elif not kept:
                indices = others
            portions.append(Portion(_gather_all(columns, indices, device, layout, change), kept))
        yield Window(portions, len(left))


def _deal(left: Tensor, micro_batch_size: int, share: Share) -> list[tuple[Tensor, Tensor]]:
    """For each portion of what is left: this rank's indices, and some that may fill it up."""
    return [
        (torch.tensor_split(chunk, share.count)[share.index], chunk[:micro_batch_size])
        for chunk in torch.split(left, micro_batch_size * share.count)
    ]


def _fill(indices: Tensor, length: int) -> Tensor:
    return indices.repeat(-(-length // len(indices)))[:length]


def _row_bytes(column: Tensor) -> int:
    width = 8 if column.dtype == torch.uint8 else column.element_size()
    return width * (column.numel() // max(1, len(column)))


def _gather_all(
    columns: Sequence[Tensor],
    indices: Tensor,
    device: str,
    layout: torch.memory_format,
    change: Change | None,
) -> Batch:
    inputs, *others = (gather(column, indices, device) for column in columns)
    if change is not None:
        inputs = change(inputs, indices)
    return (arrange(inputs, layout), *(_indexable(rows) for rows in others))


def _indexable(rows: Tensor) -> Tensor:
    return rows.long() if rows.dtype == torch.uint8 else rows
