"""What every form that PyTorch runs has in common: it is called with arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from runner.data.classes import Array
from runner.data.opened import Opened
from runner.torchlib.layout import arrange


def opened(
    model: Callable[[Any], Any],
    *,
    device: str,
    layout: torch.memory_format = torch.contiguous_format,
    by: str = "",
    operations: Mapping[str, int] | None = None,
    parameters: int | None = None,
) -> Opened:
    """``model`` on ``device``, with images in ``layout``; ``by`` says what of PyTorch it is."""

    def call(ready: Any) -> Array:
        with torch.inference_mode():
            outputs: Array = model(ready).float().numpy(force=True)
        return outputs

    return Opened(
        ready=lambda inputs: arrange(
            torch.from_numpy(np.ascontiguousarray(inputs)).to(device), layout
        ),
        call=call,
        runtime=f"torch {torch.__version__}{f', {by}' if by else ''}",
        operations=operations or {},
        parameters=parameters,
    )
