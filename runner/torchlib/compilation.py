"""torch.compile, block by block: blocks of one kind are compiled once, and start-up stays short."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import torch
import torch._dynamo
from torch import nn

from runner.errors import TaskError
from runner.torchlib.blocks import blocks

_MAX_GRAPHS = 64


def compile_model(model: nn.Module, *, device: str, is_staged: bool = False) -> None:
    """Compiles every block of ``model``, or the whole model if it has none, with its first batch.

    Names in the model's state stay as they are. To be called before the model is divided;
    ``is_staged`` says that it will be cut into stages, which never run it as a whole. Raises
    TaskError where there is no compiler, or nothing to compile.
    """
    _check_compiler(device)
    found = list(blocks(model))
    if not found and is_staged:
        raise TaskError(
            f"compile works block by block under pp, and {type(model).__name__} has none",
            hint="blocks are the layers in an nn.Sequential or nn.ModuleList inside the model; "
            "leave compile or pp out",
        )
    # Blocks of one kind share a cache: a graph for each shape, whole batches and last ones, in
    # training and in evaluation. Beyond the limit, by default 8, blocks would run uncompiled.
    torch._dynamo.config.recompile_limit = _MAX_GRAPHS
    for module in found or [model]:
        # Of the forward pass alone, as hooks around it, by which FSDP gathers weights, can't be.
        module.forward = torch.compile(_framed(module.forward))


def _framed(forward: Callable[..., Any]) -> Callable[..., Any]:
    """``forward`` from a function of our own: of PyTorch's own modules none is compiled alone."""

    def run(*args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    return run


def _check_compiler(device: str) -> None:
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
