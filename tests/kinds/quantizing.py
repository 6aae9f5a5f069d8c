"""An mlp that knows the digits, kept in a folder, and tasks of kind quantize on it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from runner.data import load
from runner.data.models import ModelSpec
from runner.kinds import find
from runner.model import Artifact, Context, Fact, Metric
from runner.torchlib.artifact import save
from runner.torchlib.data import from_arrays
from runner.torchlib.models import build

DIGITS = {"name": "digits"}
ARGS = {"hidden": [128, 128], "dropout": 0.0}


@cache
def knowing() -> nn.Module:
    """An mlp that knows the digits."""
    data = from_arrays(load(name="digits"))
    made = build(name="mlp", args=ARGS, input_shape=data.input_shape, num_classes=10)
    optimizer = torch.optim.Adam(made.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(made(data.train_inputs), data.train_targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return made


def kept(model: nn.Module, folder: Path) -> str:
    data = from_arrays(load(name="digits"))
    save(folder, model, spec=ModelSpec(name="mlp", args=ARGS), dataset=data)
    return str(folder)


class Ran:
    """What a task of this kind yielded."""

    def __init__(self, folder: Path, **params: Any) -> None:
        kind = find("quantize")
        context = Context(params=kind.params.model_validate(params), folder=folder)
        items = list(kind.run(context))
        self.metrics = {each.name: each.value for each in items if isinstance(each, Metric)}
        self.facts = {each.name: each.text for each in items if isinstance(each, Fact)}
        self.made = {each.name: each.path for each in items if isinstance(each, Artifact)}
