"""How data gets to the device: all at once where there is room for it, else piece by piece."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Of the device's free memory; the rest is for activations.
_SHARE_FOR_DATA = 0.25


def settle(tensors: Sequence[Tensor], device: str) -> tuple[Tensor, ...]:
    """The tensors on a GPU if a quarter of its free memory holds them all, else as they are."""
    if torch.device(device).type == "cpu":
        return tuple(tensors)
    free, _ = torch.cuda.mem_get_info(device)
    needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if needed > _SHARE_FOR_DATA * free:
        return tuple(tensors)
    return tuple(tensor.to(device) for tensor in tensors)


def send(tensor: Tensor, device: str | torch.device) -> Tensor:
    """``tensor`` on ``device``; a copy to a GPU goes on after this returns."""
    if tensor.device.type == "cpu" and torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def gather(column: Tensor, indices: Tensor, device: str) -> Tensor:
    """The rows ``indices``, which lie on the CPU, of ``column``, on ``device``."""
    if column.device.type == "cpu" and torch.device(device).type == "cuda":
        rows = torch.empty((len(indices), *column.shape[1:]), dtype=column.dtype, pin_memory=True)
        torch.index_select(column, 0, indices, out=rows)
        return rows.to(device, non_blocking=True)
    return column.index_select(0, send(indices, column.device)).to(device)
