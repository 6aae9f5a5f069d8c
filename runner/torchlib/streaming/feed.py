"""The windows of a training whose samples are read while it goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from runner.errors import TaskError
from runner.model import Stream
from runner.torchlib.batches import Batching, Change, Piece, Window, ready, rows_of_piece
from runner.torchlib.streaming.source import Indices, Train
from runner.torchlib.transfer import send

# One that is trained on, and one that is being filled meanwhile.
_PIECES = 2
# How long the end of a training waits for a read that is under way.
_CLOSING_S = 10.0


class Streamed:
    """The samples to train on, where they are not in memory; ``targets`` are of each of them.

    As text it says where they come from, which is in ``words``.
    """

    def __init__(
        self,
        train: Train,
        targets: Tensor,
        *,
        input_shape: tuple[int, ...],
        stream: Stream,
        words: str,
    ) -> None:
        self.samples = len(targets)
        self._words = words
        self._train = train
        self._targets = targets
        self._shape = input_shape
        self._stream = stream
        self._feeds: list[_Feed] = []

    def __str__(self) -> str:
        return f"{self._words}, streamed: {self.samples:,} samples to train on"

    def windows(
        self,
        batching: Batching,
        *,
        seed: int,
        epochs: int,
        device: str,
        layout: torch.memory_format,
        change: Callable[[int], Change | None],
    ) -> Callable[[int, int], Iterator[Window]]:
        """The windows of each of so many epochs, to be asked for in order, from any one on.

        Reading starts with the first that is asked for and goes on across ends of epochs, ahead of
        what is asked for by a bounded number of rows. Which samples make a window follows from
        ``seed``, the epoch, and how they are divided. ``change`` gives an epoch's augmentation.
        """
        feed = _Feed(self._pieces, device=device)
        self._feeds.append(feed)

        def of_epoch(epoch: int, first: int) -> Iterator[Window]:
            feed.start(batching, seed, range(epoch, epochs), first)
            drawn = change(epoch)
            for piece, inputs in feed.epoch():
                columns = [send(inputs, device), send(self._targets[piece.indices], device)]
                del inputs
                windows = piece.cut(ready(columns, piece.indices, layout, drawn))
                del columns
                yield from windows

        return of_epoch

    def close(self) -> None:
        """Ends all reading."""
        while self._feeds:
            self._feeds.pop().close()

    def _pieces(
        self, batching: Batching, seed: int, epoch: int, first: int, buffer: Callable[..., Tensor]
    ) -> Iterator[tuple[Piece, Tensor]]:
        """The pieces of an epoch with their inputs, in memory that ``buffer`` gives."""
        rows = rows_of_piece(4 * int(np.prod(self._shape)))
        dealt, arrival = self._train.epoch(batching, rows=rows, seed=seed, epoch=epoch)
        pieces = list(batching.pieces(dealt, rows=rows, first=first))
        arrivals = [_arrivals(piece.indices.numpy(), arrival) for piece in pieces]
        samples = [
            piece.indices.numpy()[order] for piece, (order, _) in zip(pieces, arrivals, strict=True)
        ]
        reads = self._train.reads(np.concatenate(samples)) if samples else []
        with closing(self._stream(reads)) as blocks:
            rest = np.empty((0, *self._shape), dtype=np.float32)
            for piece, (order, origins) in zip(pieces, arrivals, strict=True):
                inputs = buffer((len(piece.indices), *self._shape))
                filled, rows_of = 0, inputs.numpy()
                while filled < len(order):
                    if not len(rest):
                        rest = next(blocks, {}).get("inputs", rest)
                        if not len(rest):
                            raise TaskError(
                                "the files hold fewer rows than when the training began",
                                hint="leave the data alone while it is trained on",
                            )
                    some = rest[: len(order) - filled]
                    rows_of[order[filled : filled + len(some)]] = some
                    rest, filled = rest[len(some) :], filled + len(some)
                if origins is not None:
                    rows_of[:] = rows_of[origins]
                yield piece, inputs


def _arrivals(
    samples: Indices, arrival: Callable[[Indices], Indices]
) -> tuple[Indices, Indices | None]:
    """The places among ``samples`` of those to be read, in the order in which they come.

    What fills up a window repeats samples, which are read once. Where there are such, the second
    array has for every place the one whose row belongs there as well.
    """
    _, firsts, inverse = np.unique(samples, return_index=True, return_inverse=True)
    places = np.sort(firsts)
    order = places[arrival(samples[places])]
    return order, None if len(places) == len(samples) else firsts[inverse]


class _End(NamedTuple):
    """What a feed has come to: the end of an epoch, or an error."""

    error: BaseException | None = None


class _Feed:
    """A thread that fetches pieces, at most ``_PIECES`` that have not been used up."""

    def __init__(self, pieces: Callable[..., Iterator[tuple[Piece, Tensor]]], *, device: str):
        self._pieces = pieces
        self._is_pinned = torch.device(device).type == "cuda"
        self._room = threading.Semaphore(_PIECES)
        self._ready: SimpleQueue[tuple[Piece, Tensor] | _End] = SimpleQueue()
        self._is_closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, batching: Batching, seed: int, epochs: range, first: int) -> None:
        """Begins with the window ``first`` of the first of ``epochs``, if it has not begun."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run,
                args=(batching, seed, epochs, first),
                name="feed",
                daemon=True,
            )
            self._thread.start()

    def epoch(self) -> Iterator[tuple[Piece, Tensor]]:
        """The pieces up to the next end of an epoch. Raises what went wrong in reading them."""
        while not isinstance(item := self._ready.get(), _End):
            yield item
            del item
            self._room.release()
        if item.error is not None:
            raise item.error

    def close(self) -> None:
        """Ends the thread, or leaves it behind where it waits for a read that does not end."""
        self._is_closed.set()
        self._room.release()
        if self._thread is not None:
            # A read can't be interrupted. The thread is a daemon: it ends with the attempt's
            # process, which must not wait for a file system that has gone away.
            self._thread.join(_CLOSING_S)

    def _run(self, batching: Batching, seed: int, epochs: range, first: int) -> None:
        try:
            for epoch in epochs:
                start = first if epoch == epochs.start else 0
                for item in self._pieces(batching, seed, epoch, start, self._buffer):
                    self._ready.put(item)
                    del item
                self._ready.put(_End())
        except _Closed:
            return
        except BaseException as error:
            self._ready.put(_End(error))

    def _buffer(self, shape: tuple[int, ...]) -> Tensor:
        self._room.acquire()
        if self._is_closed.is_set():
            raise _Closed
        return torch.empty(shape, pin_memory=self._is_pinned)


class _Closed(Exception):
    """Nobody wants any more of it."""
