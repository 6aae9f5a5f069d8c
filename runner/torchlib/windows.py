"""Where the windows of a training come from: tensors in memory, or a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from runner.torchlib.batches import Batching, Change, Window, epoch_windows
from runner.torchlib.data import Dataset

if TYPE_CHECKING:
    from runner.torchlib.augmentation import Augmentation

Windows: TypeAlias = Callable[[int, int], Iterator[Window]]
"""The windows of an epoch, from its so-manieth on. Epochs are asked for in order, without gaps."""


def source_of(
    data: Dataset,
    columns: Sequence[Tensor],
    *,
    batching: Batching,
    seed: int,
    epochs: int,
    device: str,
    layout: torch.memory_format,
    augmentation: Augmentation | None,
) -> Windows:
    """The windows of a training of so many ``epochs`` on ``data``.

    ``columns`` are what of it is in memory, with a row for each sample unless it is streamed.
    """

    def change(epoch: int) -> Change | None:
        return None if augmentation is None else augmentation.draw(data, seed=seed, epoch=epoch)

    if data.stream is not None:
        return data.stream.windows(
            batching, seed=seed, epochs=epochs, device=device, layout=layout, change=change
        )

    def in_memory(epoch: int, first: int) -> Iterator[Window]:
        return epoch_windows(
            columns,
            batching=batching,
            seed=seed,
            epoch=epoch,
            device=device,
            layout=layout,
            first=first,
            change=change(epoch),
        )

    return in_memory
