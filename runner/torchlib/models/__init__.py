"""Models by name or by factory. A model's file is imported only when it is asked for."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import nn

from runner.errors import TaskError
from runner.torchlib.factories import call, resolve

MODELS = {
    "mlp": "runner.torchlib.models.mlp",
    "convnet": "runner.torchlib.models.convnet",
    "resnet": "runner.torchlib.models.resnet",
    "vit": "runner.torchlib.models.vit",
    "gpt": "runner.torchlib.models.gpt",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """Which model: a name of ``MODELS`` or a factory ``pkg.mod:fn``, and its arguments."""

    name: str | None = None
    factory: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"model {self.name or self.factory}"


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
    spec = ModelSpec(name=name, factory=factory, args=dict(args or {}))
    if (name is None) == (factory is None):
        raise TaskError("a model needs a name or a factory, and not both")
    if name is not None and name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=1)
        raise TaskError(
            f"there is no model '{name}'; there are: {', '.join(MODELS)}",
            hint=f"did you mean '{near[0]}'?" if near else "or name a factory, pkg.mod:fn",
        )
    make = import_module(MODELS[name]).make if name is not None else resolve(str(factory))
    offered = {"input_shape": tuple(input_shape), "num_classes": num_classes}
    taken = inspect.signature(make).parameters
    from_data = {key: value for key, value in offered.items() if key in taken}
    for key in from_data:
        if key in spec.args:
            raise TaskError(f"{spec}: {key} is given by the data", hint=f"take {key} out of args")
    # The generator is put back afterwards, so that building a model does not shift the randomness
    # of whoever called.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = call(str(spec), make, {**spec.args, **from_data})
    if not isinstance(model, nn.Module):
        raise TaskError(f"{factory} returned a {type(model).__name__}, not a torch.nn.Module")
    return model
