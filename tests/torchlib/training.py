"""A whole training in one call, as the tests of several files need it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from runner.model import Metric, Progress
from runner.torchlib.data import Dataset
from runner.torchlib.loop import count_steps, fit
from runner.torchlib.models import build
from runner.torchlib.objectives import CrossEntropy, Objective
from runner.torchlib.optimizers import make_optimizer, make_schedule


def make_model(data: Dataset, name: str = "mlp", *, seed: int = 0, **args: Any) -> nn.Module:
    return build(
        name=name,
        args=args,
        input_shape=data.input_shape,
        num_classes=len(data.classes),
        seed=seed,
    )


def train(
    model: nn.Module,
    data: Dataset,
    *,
    epochs: int = 1,
    max_steps: int | None = None,
    batch: int = 64,
    optimizer: str = "adamw",
    learning_rate: float = 2e-3,
    weight_decay: float = 0.0,
    objective: Objective | None = None,
    **settings: Any,
) -> list[Metric | Progress]:
    made = make_optimizer(
        model.parameters(),
        name=optimizer,  # type: ignore[arg-type]
        learning_rate=learning_rate,
        weight_decay=weight_decay,
    )
    samples = len(data.train_inputs)
    steps = max_steps or count_steps(samples, global_batch_size=batch, epochs=epochs)
    schedule = make_schedule(made, total_steps=steps)
    return list(
        fit(
            model,
            data,
            objective=objective or CrossEntropy(),
            optimizer=made,
            schedule=schedule,
            global_batch_size=batch,
            **settings,
        )
    )


def series(events: list[Metric | Progress], name: str) -> list[tuple[int | None, float]]:
    return [(e.step, e.value) for e in events if isinstance(e, Metric) and e.name == name]


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
