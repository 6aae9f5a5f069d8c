"""Images changed a little each time they are trained on: mirrored, moved, with a part missing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from runner.errors import TaskError
from runner.torchlib.batches import derive_seed
from runner.torchlib.data import Dataset
from runner.torchlib.transfer import send


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """What is done to images of the training data, to each its own, anew in every epoch.

    ``flip`` mirrors half of them left to right. ``crop`` moves them by up to as many pixels up or
    down and left or right, as a crop out of the image with a border of that width would. ``cutout``
    blanks a square of that many pixels, of which a part may lie outside (DeVries and Taylor 2017).
    Border and square are zero: as the data is standardised, the mean of the training data.

    What happens to a sample follows from the seed, the epoch and its place in the data alone, so
    that it is the same on any number of ranks, in portions of any size, and in a resumed run.
    """

    flip: bool = False
    crop: int = 0
    cutout: int = 0

    def check(self, data: Dataset) -> None:
        """Raises TaskError unless ``data`` are images large enough for this."""
        if len(data.input_shape) != 3:
            raise TaskError(
                "augment changes images, and this data is none", hint="leave augment out"
            )
        height, width = data.input_shape[1:]
        for name, pixels in (("crop", self.crop), ("cutout", self.cutout)):
            if pixels >= min(height, width):
                raise TaskError(
                    f"augment: {name} by {pixels} pixels leaves nothing of images of "
                    f"{height}x{width}",
                    hint=f"take a {name} well below {min(height, width)}",
                )

    def draw(self, data: Dataset, *, seed: int, epoch: int) -> Draws:
        """What happens to each sample in an epoch."""
        generator = torch.Generator().manual_seed(derive_seed(seed, "augment", epoch))
        samples = data.train_samples
        height, width = data.input_shape[1:]

        def numbers(below: int) -> Tensor:
            return torch.randint(below, (samples,), generator=generator)

        # All are drawn whatever is wanted, so that what is doesn't depend on what else is.
        return Draws(
            self,
            flips=numbers(2).bool(),
            moves=(numbers(2 * self.crop + 1), numbers(2 * self.crop + 1)),
            centres=(numbers(height), numbers(width)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """The outcome of chance for every sample of an epoch."""

    augmentation: Augmentation
    flips: Tensor
    moves: tuple[Tensor, Tensor]
    centres: tuple[Tensor, Tensor]

    def __call__(self, images: Tensor, indices: Tensor) -> Tensor:
        """The samples ``indices``, given as ``images`` (samples, channels, height, width)."""

        def drawn(numbers: Tensor) -> Tensor:
            return send(numbers[indices], images.device)

        if self.augmentation.flip:
            images = torch.where(drawn(self.flips)[:, None, None, None], images.flip(-1), images)
        if self.augmentation.crop:
            down, right = self.moves
            images = _moved(images, drawn(down), drawn(right), self.augmentation.crop)
        if self.augmentation.cutout:
            row, column = self.centres
            images = _cut_out(images, drawn(row), drawn(column), self.augmentation.cutout)
        return images


def _moved(images: Tensor, down: Tensor, right: Tensor, border: int) -> Tensor:
    height, width = images.shape[-2:]
    padded = functional.pad(images, (border,) * 4)
    # (samples, channels, places down, places right, height, width), without a copy.
    crops = padded.unfold(2, height, 1).unfold(3, width, 1)
    return crops[torch.arange(len(images), device=images.device), :, down, right]


def _cut_out(images: Tensor, row: Tensor, column: Tensor, side: int) -> Tensor:
    height, width = images.shape[-2:]
    rows, columns = (
        (torch.arange(length, device=images.device) - centre[:, None] + side // 2)
        for length, centre in ((height, row), (width, column))
    )
    inside = _between(rows, side)[:, None, :, None] & _between(columns, side)[:, None, None, :]
    return images.masked_fill(inside, 0.0)


def _between(distances: Tensor, side: int) -> Tensor:
    return (distances >= 0) & (distances < side)
