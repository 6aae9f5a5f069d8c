"""Activation checkpointing: what a block computes is dropped, and computed again when needed.

Chen et al. 2016, "Training deep nets with sublinear memory cost". Of a model's blocks only what
goes into them is kept for the backward pass, at the cost of a second forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from runner.errors import TaskError
from runner.torchlib.blocks import blocks


def recompute(model: nn.Module, *, is_compiled: bool = False) -> None:
    """Makes every block of ``model`` compute its activations again in the backward pass.

    Names in the model's state stay as they are. To be called before the model is divided, and
    before it is compiled, if ``is_compiled`` says that it will be. Raises TaskError if the model
    has no blocks.
    """
    found = list(blocks(model))
    if not found:
        raise TaskError(
            f"activation_checkpointing works block by block, and {type(model).__name__} has none",
            hint="blocks are the layers in an nn.Sequential or nn.ModuleList inside the model; "
            "leave activation_checkpointing out, or take a model such as resnet, vit or gpt",
        )
    for block in found:
        settings: dict[str, Any] = {"use_reentrant": False}
        # What is compiled is made pure: it writes to buffers in the first pass only.
        if not is_compiled and any(True for _ in block.buffers()):
            settings["context_fn"] = partial(_contexts, block)
        # The instance's forward and no wrapper around it, which would change names; and below the
        # hooks by which FSDP gathers weights, so that these are there when it runs again.
        block.forward = partial(checkpoint, block.forward, **settings)


def _contexts(
    block: nn.Module,
) -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
    """What the first forward pass runs in, and what the second does."""
    return nullcontext(), _keeping_buffers(block)


@contextmanager
def _keeping_buffers(block: nn.Module) -> Iterator[None]:
    """So that the statistics of batch norm don't count a batch twice."""
    before = [buffer.clone() for buffer in block.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(block.buffers(), before, strict=True):
                buffer.copy_(value)
