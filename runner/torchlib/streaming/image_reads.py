"""What the reading processes do with images: open some, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runner.data.images import check_size, decoded, header, together
from runner.model import Columns
from runner.torchlib.streaming.moments import Scale, partial, standardised

BLOCK_BYTES = 4_000_000
# A read of fewer costs more to start than to do; of more, what is read ahead grows too long.
IMAGES_A_READ = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class HeaderRead:
    """Size and colour of images, without their pixels; all must be as large as ``first``."""

    files: tuple[str, ...]
    first: str

    def __call__(self) -> Iterator[Columns]:
        """Yields ``height``, ``width`` and ``is_grey``."""
        expected = header(Path(self.first))[:2]
        found = []
        for file in self.files:
            found.append(header(Path(file)))
            check_size(Path(file), found[-1][:2], Path(self.first), expected)
        columns = zip(*found, strict=True)
        yield {
            name: np.array(values)
            for name, values in zip(("height", "width", "is_grey"), columns, strict=True)
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageScan:
    """Images summed up, with the class of each and whether it is for training."""

    files: tuple[str, ...]
    targets: tuple[int, ...]
    is_train: tuple[bool, ...]
    classes: tuple[str, ...]
    is_grey: bool

    def __call__(self) -> Iterator[Columns]:
        """Yields one partial."""
        yield partial(
            _read(self.files, self.is_grey),
            np.array(self.targets, dtype=np.int64),
            self.classes,
            np.array(self.is_train),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRows:
    """Images standardised."""

    files: tuple[str, ...]
    is_grey: bool
    scale: Scale

    def __call__(self) -> Iterator[Columns]:
        """Yields ``inputs``."""
        images = _decode(self.files)
        held: list[np.ndarray] = []
        for image in images:
            held.append(image)
            if 4 * sum(array.size for array in held) >= BLOCK_BYTES:
                yield {"inputs": standardised(together(held, is_grey=self.is_grey), self.scale)}
                held = []
        if held:
            yield {"inputs": standardised(together(held, is_grey=self.is_grey), self.scale)}


def _read(files: Sequence[str], is_grey: bool) -> np.ndarray:
    return together(list(_decode(files)), is_grey=is_grey)


def _decode(files: Sequence[str]) -> Iterator[np.ndarray]:
    for file in files:
        yield decoded(Path(file))
