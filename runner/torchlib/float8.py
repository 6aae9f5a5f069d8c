"""Linear layers that multiply in 8-bit floating point, by torchao's float8 training.

Inputs, weights and gradients are cast to fp8 for each product, every tensor with a scale of its own
that is taken from its largest value at that moment (Micikevicius et al. 2022, "FP8 formats for deep
learning"); sums, and the weights that are kept, stay as they are.
"""

from __future__ import annotations

import logging
import os

import torch
from torch import nn

from runner.data.extras import need
from runner.errors import TaskError

# What the widths of a product must divide by on the hardware (torch._scaled_mm).
_MULTIPLE = 16
# Compute capability of the first NVIDIA GPUs with fp8 (Ada), and AMD's (MI300, MI350).
_CAPABILITY = (8, 9)
_ARCHITECTURES = ("gfx940", "gfx941", "gfx942", "gfx950")


def has_float8(device: str) -> bool:
    """Whether ``device`` multiplies in fp8."""
    if torch.device(device).type != "cuda" or not torch.cuda.is_available():
        return False
    if torch.version.hip:
        name: str = torch.cuda.get_device_properties(device).gcnArchName
        return name.startswith(_ARCHITECTURES)
    return torch.cuda.get_device_capability(device) >= _CAPABILITY


def convert(model: nn.Module, *, parts: int = 1, emulate: bool = False) -> str:
    """Makes linear layers of ``model`` multiply in fp8; returns how many, in words.

    Those whose widths are multiples of 16, each of their ``parts`` where tensor parallel divides
    them. The last layer, whose outputs are the logits, stays as it is, as torchao has it.
    Parameters and their names stay as they are. To be called before anything else is made of the
    model. ``emulate`` does in fp32 what the hardware would do, which is slower than without fp8.

    Raises TaskError where torchao is missing, or no layer can be converted.
    """
    need("torchao", package="torchao", extra="fp8", what="precision: fp8")
    # Its compiled kernels serve other ends, and complain where they were built for another PyTorch.
    os.environ.setdefault("TORCHAO_FORCE_SKIP_LOADING_SO_FILES", "1")
    logger = logging.getLogger("torchao")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        from torchao.float8 import Float8LinearConfig, convert_to_float8_training
    finally:
        logger.setLevel(before)

    # Of subclasses, such as attention's output layer, others use the weight and not the layer.
    linear = {name: each for name, each in model.named_modules() if type(each) is nn.Linear}
    multiple = _MULTIPLE * parts
    chosen = {
        name
        for name, each in list(linear.items())[:-1]
        if each.in_features % multiple == 0 and each.out_features % multiple == 0
    }
    if not chosen:
        raise TaskError(
            f"precision: fp8 has nothing to work on: {type(model).__name__} has no linear layer, "
            f"before its last, whose widths are multiples of {multiple}",
            hint="take precision: bf16-mixed, or a model with wider linear layers",
        )
    convert_to_float8_training(
        model,
        module_filter_fn=lambda module, name: name in chosen,
        # The gradient of a weight sums over all rows of a batch, which need be no multiple of 16.
        config=Float8LinearConfig(emulate=emulate, pad_inner_dim=True),
    )
    return f"{len(chosen)} of {len(linear)} linear layers multiply in fp8, the rest in bf16"
