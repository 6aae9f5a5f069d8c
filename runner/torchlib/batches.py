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


@dataclass(frozen=True, kw_only=True, slots=True)
class Batching:
    """How the samples of an epoch are divided into windows, and what of them is one rank's.

    The last window holds what is left over, dealt out evenly: a rank that gets nothing of a portion
    has one of which no row counts, so that all ranks go through as many. With ``is_padded`` every
    portion has ``micro_batch_size`` rows and every window as many portions. With several ranks,
    ``global_batch_size`` must be a multiple of theirs times ``micro_batch_size``.
    """

    global_batch_size: int
    micro_batch_size: int
    share: Share = Share()
    is_padded: bool = False

    @property
    def own(self) -> int:
        """The rows of a whole window that are one rank's."""
        return self.global_batch_size // self.share.count

    def whole(self, samples: int) -> int:
        """How many samples of an epoch are in whole windows; one rank alone takes any as such."""
        is_alone = self.share.count == 1 and not self.is_padded
        return samples if is_alone else samples - samples % self.global_batch_size

    def deal(self, order: Tensor) -> Dealt:
        """This rank's part of all samples, which are given in the epoch's order."""
        whole = self.whole(len(order))
        mine, left = order[:whole], order[whole:]
        if self.share.count > 1:
            mine = mine.view(
                -1, self.own // self.micro_batch_size, self.share.count, self.micro_batch_size
            )
            mine = mine[:, :, self.share.index].reshape(-1)
        chunks = torch.split(left, self.micro_batch_size * self.share.count) if len(left) else ()
        return Dealt(
            whole=mine,
            last=[
                (
                    torch.tensor_split(chunk, self.share.count)[self.share.index],
                    chunk[: self.micro_batch_size],
                )
                for chunk in chunks
            ],
            samples=len(order),
        )

    def piece_size(self, rows: int) -> int:
        """The rows of a rank's whole windows that about ``rows`` are, at least those of one."""
        return self.own * max(1, rows // self.own)

    def pieces(self, dealt: Dealt, *, rows: int, first: int = 0) -> Iterator[Piece]:
        """What a rank was dealt, from window ``first`` on, in pieces that are fetched at once.

        They are of about so many ``rows``, and lie where they would if the first window was 0.
        """
        own, samples = self.own, dealt.samples - first * self.global_batch_size
        size = self.piece_size(rows)
        start = min(first * own, len(dealt.whole))
        while start < len(dealt.whole):
            stop = min(len(dealt.whole), start - start % size + size)
            indices = dealt.whole[start:stop]
            windows = []
            for at in range(0, len(indices), own):
                held = min(own, len(indices) - at)
                lengths = [
                    min(self.micro_batch_size, held - row)
                    for row in range(0, held, self.micro_batch_size)
                ]
                total = held * self.share.count
                windows.append(Outline([(length, length) for length in lengths], total))
                samples -= total
            yield Piece(indices, windows)
            start = stop
        if dealt.last:
            last = list(dealt.last)
            if self.is_padded:
                filler = last[0][0][:0], last[0][1]
                last += [filler] * (own // self.micro_batch_size - len(last))
            rows_of = [self._filled(mine, others) for mine, others in last]
            kept = [(len(rows), len(mine)) for rows, (mine, _) in zip(rows_of, last, strict=True)]
            yield Piece(torch.cat(rows_of), [Outline(kept, samples)])

    def _filled(self, mine: Tensor, others: Tensor) -> Tensor:
        if self.is_padded:
            rows = torch.cat([mine, others])
            return rows.repeat(-(-self.micro_batch_size // len(rows)))[: self.micro_batch_size]
        return mine if len(mine) else others


class Dealt(NamedTuple):
    """One rank's samples of an epoch: those of ``whole`` windows, and of the last, shorter one.

    Of each portion of the last these are the rank's own, and others that may fill it up. In all the
    epoch has so many ``samples``, of all ranks.
    """

    whole: Tensor
    last: list[tuple[Tensor, Tensor]]
    samples: int


class Outline(NamedTuple):
    """The portions of a window as (rows, rows that count), and the samples of all ranks in it."""

    portions: list[tuple[int, int]]
    samples: int


class Piece(NamedTuple):
    """Samples that are fetched at once, in the order of the portions that they make up."""

    indices: Tensor
    windows: list[Outline]

    def cut(self, columns: Batch) -> Iterator[Window]:
        """The windows, given the columns of all ``indices``."""
        lengths = [rows for window in self.windows for rows, _ in window.portions]
        parts = zip(*(torch.split(column, lengths) for column in columns), strict=True)
        for window in self.windows:
            portions = [Portion(next(parts), kept) for _, kept in window.portions]
            yield Window(portions, window.samples)


def epoch_windows(
    columns: Sequence[Tensor],
    *,
    batching: Batching,
    seed: int,
    epoch: int,
    device: str,
    layout: torch.memory_format,
    first: int = 0,
    change: Change | None = None,
) -> Iterator[Window]:
    """The windows of an epoch from its ``first`` on: each is what one optimizer step sees.

    ``columns`` are tensors with one row a sample: inputs, targets, and whatever the objective
    needs besides. The order depends on ``seed`` and ``epoch`` alone, and which samples make a
    window does not depend on how many ranks share it. Bytes become int64, the type that embeddings
    and losses index with; inputs are put through ``change`` and into ``layout``.
    """
    dealt = batching.deal(epoch_order(len(columns[0]), seed=seed, epoch=epoch))
    rows = rows_of_piece(sum(_row_bytes(column) for column in columns))
    for piece in batching.pieces(dealt, rows=rows, first=first):
        gathered = [gather(column, piece.indices, device) for column in columns]
        yield from piece.cut(ready(gathered, piece.indices, layout, change))


def rows_of_piece(row_bytes: int) -> int:
    """How many rows of so many bytes are fetched at once."""
    return _PIECE_BYTES // max(1, row_bytes)


def ready(
    columns: Sequence[Tensor],
    indices: Tensor,
    layout: torch.memory_format,
    change: Change | None,
) -> Batch:
    """Columns of the samples ``indices`` as a step takes them: changed, and in ``layout``."""
    inputs, *others = columns
    if change is not None:
        inputs = change(inputs, indices)
    return (arrange(inputs, layout), *(_indexable(rows) for rows in others))


def _row_bytes(column: Tensor) -> int:
    width = 8 if column.dtype == torch.uint8 else column.element_size()
    return width * (column.numel() // max(1, len(column)))


def _indexable(rows: Tensor) -> Tensor:
    return rows.long() if rows.dtype == torch.uint8 else rows
