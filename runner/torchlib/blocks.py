"""The blocks of a model: the layers that repeat, and are handled one after the other."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The children, with parameters, of every Sequential or ModuleList that is not in another."""
    for child in model.children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from (block for block in child if any(True for _ in block.parameters()))
        else:
            yield from blocks(child)
