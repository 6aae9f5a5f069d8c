"""Where a model's tensors lie: the device, and the order of an image's axes in memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_PLAIN = (Tensor, nn.Parameter)


def place(model: nn.Module, device: str) -> torch.memory_format:
    """Moves ``model`` to ``device`` and into the layout it is fastest in, which is returned.

    Convolutions run in channels-last (the layout of oneDNN's and cuDNN's kernels): a third faster
    than channels-first on a CPU, and the same numbers up to rounding.
    """
    convolves = any(isinstance(module, nn.Conv2d) for module in model.modules())
    layout = torch.channels_last if convolves else torch.contiguous_format
    # Only 4-D parameters have such a layout; .to() leaves the others as they are.
    model.to(device=device)
    if convolves:
        model.to(memory_format=layout)  # type: ignore[call-overload]
    return layout


def arrange(tensor: Tensor, layout: torch.memory_format) -> Tensor:
    """``tensor`` as the model takes it that ``place`` returned ``layout`` for.

    Bytes become int64, the type that embeddings index with.
    """
    if tensor.dtype == torch.uint8:
        tensor = tensor.long()
    if layout is torch.channels_last and tensor.ndim != 4:
        return tensor
    return tensor.contiguous(memory_format=layout)


def local(tensor: Tensor) -> Tensor:
    """The part of a divided tensor that this rank holds, in the same memory; a plain one as it is.

    What is element by element each rank can do to its own part, and kernels that take lists of
    tensors take plain ones of all kinds of parts in one list.
    """
    if type(tensor) in _PLAIN:
        return tensor
    part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part.detach()
