"""Models by name or by factory. A model's file is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from runner.data.models import ModelSpec, maker
from runner.errors import TaskError

MODELS = {
    "mlp": "runner.torchlib.models.mlp",
    "convnet": "runner.torchlib.models.convnet",
    "resnet": "runner.torchlib.models.resnet",
    "vit": "runner.torchlib.models.vit",
    "gpt": "runner.torchlib.models.gpt",
}


def build(
    *,
    name: str | None = None,
    factory: str | None = None,
    args: Mapping[str, Any] | None = None,
    input_shape: tuple[int, ...],
    num_classes: int,
    seed: int = 0,
) -> nn.Module:
    """A fresh model, whose initial weights depend on ``seed`` and nothing else.

    A model takes a batch of inputs (samples, *input_shape) and gives logits (samples, num_classes),
    or for language (samples, block_size, num_classes). A factory is called with ``args`` and, where
    its parameters have these names, ``input_shape`` and ``num_classes``. Raises TaskError if there
    is no such model, it does not take these arguments, or a factory returns no nn.Module.
    """
    make = maker(
        ModelSpec(name=name, factory=factory, args=dict(args or {})),
        MODELS,
        input_shape=input_shape,
        num_classes=num_classes,
    )
    # The generator is put back afterwards, so that building a model does not shift the randomness
    # of whoever called.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = make()
    if not isinstance(model, nn.Module):
        raise TaskError(f"{factory} returned a {type(model).__name__}, not a torch.nn.Module")
    return model


def embeddings(model: nn.Module) -> list[nn.Parameter]:
    """The weights whose rows are looked up, each for itself."""
    found = (module for module in model.modules() if isinstance(module, nn.Embedding))
    return [weight for module in found for weight in module.parameters(recurse=False)]
