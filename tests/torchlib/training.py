"""A whole training in one call, as the tests of several files need it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from runner.model import Metric, Progress
from runner.storage import Place
from runner.torchlib.checkpoint import Checkpoints
from runner.torchlib.data import Dataset
from runner.torchlib.engine import Single
from runner.torchlib.loop import count_steps, fit
from runner.torchlib.models import build
from runner.torchlib.objectives import CrossEntropy, Objective
from runner.torchlib.optimizers import make_optimizer
from runner.torchlib.precision import Precision, PrecisionName
from runner.torchlib.schedules import make_schedule
from runner.torchlib.stopping import EarlyStopping
from runner.torchlib.weights import Average, Copy


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
    precision: PrecisionName = "fp32",
    has_graphs: bool = False,
    ema: float | None = None,
    stopping: Mapping[str, Any] | None = None,
    checkpoints: Place | None = None,
    stop_after: int | None = None,
    **settings: Any,
) -> list[Metric | Progress]:
    """All that the training yields.

    With ``checkpoints`` it writes one every three steps, and goes on from what is there; it is
    given up after the step ``stop_after``.
    """
    engine = Single(model, precision=Precision(precision, "cpu"), has_graphs=has_graphs)
    made = make_optimizer(
        engine.parameters(),
        name=optimizer,  # type: ignore[arg-type]
        learning_rate=learning_rate,
        weight_decay=weight_decay,
    )
    samples = data.train_samples
    steps = max_steps or count_steps(samples, global_batch_size=batch, epochs=epochs)
    schedule = make_schedule(made, total_steps=steps)
    average = None if ema is None else Average(engine, decay=ema)
    early = None if stopping is None else EarlyStopping(engine, **stopping)
    kept = None
    if checkpoints is not None:
        kept = Checkpoints(
            checkpoints,
            every_steps=3,
            keep=2,
            engine=engine,
            optimizer=made,
            copies=[copy for copy in (average, early and early.best) if isinstance(copy, Copy)],
        )
    events = []
    for event in fit(
        engine,
        data,
        objective=objective or CrossEntropy(),
        optimizer=made,
        schedule=schedule,
        global_batch_size=batch,
        average=average,
        stopping=early,
        checkpoints=kept,
        **settings,
    ):
        events.append(event)
        if isinstance(event, Metric) and event.name == "train/loss" and event.step == stop_after:
            break
    if kept is not None:
        kept.finish()
    return events


def series(events: list[Metric | Progress], name: str) -> list[tuple[int | None, float]]:
    return [(e.step, e.value) for e in events if isinstance(e, Metric) and e.name == name]


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
