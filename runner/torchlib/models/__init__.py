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

from runner.builtin import MODEL_ARGUMENTS, Form, unfit
from runner.data.arguments import check
from runner.data.factories import call, resolve
from runner.errors import TaskError
from runner.torchlib.data import Dataset
from runner.torchlib.objectives import check_logits

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
    offered = {"input_shape": tuple(input_shape), "num_classes": num_classes}
    if name is not None:
        make, from_data = import_module(MODELS[name]).make, offered
    else:
        make = resolve(str(factory))
        taken = inspect.signature(make).parameters
        from_data = {key: value for key, value in offered.items() if key in taken}
    for key in from_data:
        if key in spec.args:
            raise TaskError(f"{spec}: {key} is given by the data", hint=f"take {key} out of args")
    given = spec.args if name is None else check(str(spec), MODEL_ARGUMENTS[name], spec.args)
    # The generator is put back afterwards, so that building a model does not shift the randomness
    # of whoever called.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = call(str(spec), make, {**given, **from_data})
    if not isinstance(model, nn.Module):
        raise TaskError(f"{factory} returned a {type(model).__name__}, not a torch.nn.Module")
    return model


def check_form(spec: ModelSpec, data: Dataset) -> None:
    """Raises TaskError if a built-in model can't take samples of this form."""
    if spec.name is None:
        return
    is_image = len(data.input_shape) == 3
    form: Form = "text" if data.task == "language" else "images" if is_image else "a table"
    wrong = unfit(spec.name, (form,))
    if wrong is not None:
        raise TaskError(wrong[0], hint=f"take {wrong[1]}")


def try_out(model: nn.Module, data: Dataset) -> None:
    """Raises TaskError unless ``model`` gives logits for two samples: said before time is spent.

    The model is left as it was. What its own code raises is passed on.
    """
    inputs, targets = data.train_inputs[:2], data.train_targets[:2]
    was_training = model.training
    model.eval()
    # As in build: someone's model may draw numbers in any mode.
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        logits = model(inputs.long() if inputs.dtype == torch.uint8 else inputs)
    model.train(was_training)
    check_logits(logits, targets, len(data.classes))


def embeddings(model: nn.Module) -> list[nn.Parameter]:
    """The weights whose rows are looked up, each for itself."""
    found = (module for module in model.modules() if isinstance(module, nn.Embedding))
    return [weight for module in found for weight in module.parameters(recurse=False)]
