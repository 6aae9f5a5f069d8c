"""Linear layers with weights in 8 bit that stay in PyTorch, by torchao.

On a CPU these take less memory and are slower than in float: torchao has no kernels of its own for
one. On GPUs they are fast, and in fp8 on those alone that multiply in it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from runner.data.described import Described
from runner.data.extras import need
from runner.errors import TaskError
from runner.torchlib.artifact import LoadedModel, as_described
from runner.torchlib.float8 import has_float8

if TYPE_CHECKING:
    from collections.abc import Sequence


def write_quantized(
    loaded: LoadedModel,
    path: Path,
    *,
    scheme: str,
    group_size: int | None,
    floats: Sequence[str],
    device: str,
) -> None:
    """Writes the state of the model with its linear layers quantized, but those in ``floats``.

    Raises TaskError if there are none, or ``device`` lacks what ``scheme`` takes.
    """
    check_device(scheme, device)
    _prepare_torchao()
    from torchao.quantization import quantize_

    model = as_described(loaded).eval()
    model.load_state_dict(loaded.model.state_dict())
    chosen = {
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name not in floats
    }
    if not chosen:
        raise TaskError(
            f"the {loaded.spec} has no linear layers, and torchao quantizes no others",
            hint="take another runtime: onnx, openvino or litert",
        )
    try:
        quantize_(
            model.to(device), _config(scheme, group_size), filter_fn=lambda _, name: name in chosen
        )
    except (AssertionError, ValueError, RuntimeError) as error:
        raise TaskError(
            f"torchao can't make {scheme} of the {loaded.spec}: {' '.join(str(error).split())}",
            hint="take another group_size or runtime, or leave the layer out by 'ignore'",
        ) from error
    torch.save(model.cpu().state_dict(), path)


def read_quantized(path: Path, described: Described) -> nn.Module:
    """The model that ``write_quantized`` wrote, in eval mode on the CPU."""
    _prepare_torchao()
    import torchao.quantization  # noqa: F401  # its tensors, so that they may be loaded

    model = as_described(described).eval()
    try:
        state: Mapping[str, Any] = torch.load(path, weights_only=True)
        model.load_state_dict(state, assign=True)
    except Exception as error:  # of zip files, of pickles and of names
        raise TaskError(
            f"PyTorch can't load {path}: {' '.join(str(error).split())[:300]}",
            hint="make the file again",
        ) from error
    return model.eval()


def check_device(scheme: str, device: str) -> None:
    """Raises TaskError unless ``device`` computes as ``scheme`` asks."""
    if scheme == "fp8" and not has_float8(device):
        raise TaskError(
            f"scheme fp8 needs a GPU that multiplies in it (H100, L40S, MI300 and newer), and "
            f"this is {device}",
            hint="take int8-static or auto, or resources with such a GPU",
        )


def _config(scheme: str, group_size: int | None) -> Any:
    from torchao import quantization

    if scheme == "int8-weight":
        if group_size is None:
            return quantization.Int8WeightOnlyConfig()
        return quantization.Int8WeightOnlyConfig(granularity=quantization.PerGroup(group_size))
    if scheme == "int8-dynamic":
        return quantization.Int8DynamicActivationInt8WeightConfig()
    return quantization.Float8DynamicActivationFloat8WeightConfig()


def _prepare_torchao() -> None:
    need("torchao", package="torchao", extra="fp8", what="quantization within PyTorch")
    # Its wheel for CUDA says on every import that its kernels for GPUs can't be loaded.
    os.environ.setdefault("TORCHAO_FORCE_SKIP_LOADING_SO_FILES", "1")
