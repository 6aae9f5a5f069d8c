"""Sharded data parallel: every rank holds a part of each layer, gathered when used (FSDP2).

With dp_replicate above 1 the shards lie within groups, of which each has a whole copy (HSDP).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)
from torch.distributed.tensor import DTensor

from runner.model import Widths
from runner.torchlib.blocks import blocks
from runner.torchlib.parallel.options import Options
from runner.torchlib.parallel.world import names_of
from runner.torchlib.precision import Precision


def check(model: nn.Module, widths: Widths, options: Options) -> None:
    """Any model can be sharded."""


def apply(model: nn.Module, mesh: DeviceMesh, precision: Precision, options: Options) -> nn.Module:
    """The model with every parameter sharded along its first dimension.

    What is gathered at once is a block of layers (see ``blocks``), and the rest. Half precision is
    FSDP's own: layers are gathered in it, and gradients reduced in fp32.
    """
    names = tuple(name for name in ("dp_replicate", "dp_shard") if name in names_of(mesh))
    half = precision.half
    shard = partial(
        fully_shard,
        mesh=mesh[names],
        reshard_after_forward=options.reshard,
        mp_policy=MixedPrecisionPolicy(
            param_dtype=half, reduce_dtype=None if half is None else torch.float32
        ),
        offload_policy=CPUOffloadPolicy(pin_memory=precision.device_type == "cuda")
        if options.offload
        else OffloadPolicy(),
    )
    for block in blocks(model):
        shard(block)
    shard(model)
    return model


def exchange(model: nn.Module, *, now: bool) -> AbstractContextManager[object]:
    """The context of a forward and backward pass, in which gradients travel ``now`` or later."""
    assert isinstance(model, FSDPModule)
    model.set_requires_gradient_sync(now)
    model.set_is_last_backward(now)
    return nullcontext()


def refresh(model: nn.Module) -> None:
    """Frees the gathered layers of ``model``, and of models in it."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor put together, on every rank of its mesh."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.detach()
