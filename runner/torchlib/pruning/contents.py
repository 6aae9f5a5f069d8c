"""What the files of a model hold: how many zeros, and how many bytes once compressed."""

from __future__ import annotations

import zlib
from contextlib import suppress
from pathlib import Path

from torch import nn

from runner.errors import Unmeasured
from runner.torchlib.artifact import load
from runner.torchlib.costs import of_folder

_READ_BYTES = 1 << 20


def contents(folder: Path) -> dict[str, float]:
    """By the names that reports have them: the zeros, bytes and operations of a model's artifact.

    ``size/zeros`` are parameters that are zero, ``size/gzip_mb`` what its files take compressed,
    ``size/multiply_adds`` those of one sample, left out where they can't be counted.
    """
    values = {
        "size/zeros": float(count_zeros(load(folder).model)),
        "size/gzip_mb": gzip_bytes(folder) / 1e6,
    }
    with suppress(Unmeasured):
        values["size/multiply_adds"] = of_folder(folder).operations / 2
    return values


def count_zeros(model: nn.Module) -> int:
    """Parameters of ``model`` that are zero; one that is used in two places counts once."""
    return sum(int((parameter == 0).sum()) for parameter in model.parameters())


def gzip_bytes(folder: Path) -> int:
    """What the files in ``folder`` take together as gzip writes them, each for itself, in bytes."""
    total = 0
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        packer = zlib.compressobj(wbits=31)  # DEFLATE in gzip's header and trailer
        with file.open("rb") as opened:
            while part := opened.read(_READ_BYTES):
                total += len(packer.compress(part))
        total += len(packer.flush())
    return total
