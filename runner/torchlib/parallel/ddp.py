"""Data parallel: every rank has a copy of the model, and gradients are averaged (DDP)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.nn.parallel import DistributedDataParallel

from runner.model import Widths
from runner.torchlib.parallel.options import Options
from runner.torchlib.precision import Precision


def check(model: nn.Module, widths: Widths, options: Options) -> None:
    """Any model can be copied."""


def apply(model: nn.Module, mesh: DeviceMesh, precision: Precision, options: Options) -> nn.Module:
    """The model with its gradients averaged over dp_replicate as the backward pass makes them."""
    device = next(model.parameters()).device
    return DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        process_group=mesh["dp_replicate"].get_group(),
        gradient_as_bucket_view=True,
    )


def exchange(model: nn.Module, *, now: bool) -> AbstractContextManager[object]:
    """The context of a forward and backward pass, in which gradients travel ``now`` or later."""
    assert isinstance(model, DistributedDataParallel)
    return nullcontext() if now else model.no_sync()


def whole(tensor: Tensor) -> Tensor:
    """Every rank has it all."""
    return tensor.detach()
