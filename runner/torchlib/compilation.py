"""torch.compile, block by block: blocks of one kind are compiled once, and start-up stays short."""

from __future__ import annotations

import os
import shutil

import torch
from torch import nn

from runner.errors import TaskError
from runner.torchlib.blocks import blocks


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
    for module in found or [model]:
        module.compile()


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
