"""torch.compile, block by block: blocks of one kind are compiled once, and start-up stays short.

A small model on one GPU is compiled as a whole instead, into CUDA graphs: its kernels take less
time than launching them does, and a graph launches all of them at once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch._dynamo
from torch import nn

from runner.errors import TaskError
from runner.torchlib.blocks import blocks

_MAX_GRAPHS = 64
# Operations that a GPU does in about the time that it takes to launch a kernel: 10 us at 10^14/s.
_LAUNCH = 1e9


class Graphs(NamedTuple):
    """Whether a model is compiled into CUDA graphs, and why or why not, in words."""

    are_used: bool
    why: str


def choose_graphs(*, ranks: int, is_auto: bool, operations: float | None, layers: int) -> Graphs:
    """Whether CUDA graphs serve a model that is to be compiled for a GPU.

    They serve one whose kernels take less time than launching them: whose ``layers`` have few of
    the ``operations`` of a forward and backward pass each (None: they can't be counted, for a model
    whose code looks at values and so makes no graph). They hold the addresses and the shapes of one
    device: not with several ``ranks``, nor where sizes are tried out (``is_auto``).
    """
    if ranks > 1:
        return Graphs(False, f"not used: {ranks} workers exchange between layers")
    if is_auto:
        return Graphs(False, "not used: per_device_batch_size auto tries many shapes")
    if operations is None:
        return Graphs(False, "not used: how much the model computes is not known")
    each = f"{operations / max(1, layers) / 1e6:.3g} million operations in a layer and pass"
    if operations >= _LAUNCH * layers:
        return Graphs(False, f"not used: {each} keep the GPU busy")
    return Graphs(True, f"used: {each} take less time than launching them")


def count_layers(model: nn.Module) -> int:
    """Modules that hold no others: about as many kernels run forward, and twice that backward."""
    return sum(1 for module in model.modules() if not any(True for _ in module.children()))


def compile_model(
    model: nn.Module, *, device: str, is_staged: bool = False, has_graphs: bool = False
) -> None:
    """Compiles every block of ``model``, or the whole model if it has none, with its first batch.

    With ``has_graphs`` it is always the whole, into one CUDA graph for each shape that comes: a
    last, shorter batch gets one of its own, and numbers stay as they are.

    Names in the model's state stay as they are. To be called before the model is divided;
    ``is_staged`` says that it will be cut into stages, which never run it as a whole. Raises
    TaskError where there is no compiler, or nothing to compile.
    """
    check_compiler(device)
    # Blocks of one kind share a cache: a graph for each shape, whole batches and last ones, in
    # training and in evaluation. Beyond the limit, by default 8, blocks would run uncompiled.
    torch._dynamo.config.recompile_limit = _MAX_GRAPHS
    if has_graphs:
        model.forward = torch.compile(_framed(model.forward), mode="reduce-overhead", dynamic=False)
        return
    found = list(blocks(model))
    if not found and is_staged:
        raise TaskError(
            f"compile works block by block under pp, and {type(model).__name__} has none",
            hint="blocks are the layers in an nn.Sequential or nn.ModuleList inside the model; "
            "leave compile or pp out",
        )
    for module in found or [model]:
        # Of the forward pass alone, as hooks around it, by which FSDP gathers weights, can't be.
        module.forward = torch.compile(_framed(module.forward))


def _framed(forward: Callable[..., Any]) -> Callable[..., Any]:
    """``forward`` from a function of our own: of PyTorch's own modules none is compiled alone."""

    def run(*args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    return run


def check_compiler(device: str) -> None:
    """Raises TaskError unless this node has what code for ``device`` is compiled with."""
    if torch.device(device).type != "cpu":
        from torch.utils._triton import has_triton

        if not has_triton():
            raise TaskError(
                "compile needs Triton and a GPU that it knows, and there is none on this node",
                hint="install the triton package on the cluster's GPU nodes, or leave compile out",
            )
        return
    names = [os.environ.get("CXX") or "g++", "clang++"]
    if not any(shutil.which(name) for name in names):
        raise TaskError(
            f"compile needs a C++ compiler, and this node has neither {' nor '.join(names)}",
            hint="install one, name it in the environment variable CXX, or leave compile out",
        )
