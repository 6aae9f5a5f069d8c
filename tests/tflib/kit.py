"""Whole trainings with Keras in one call. To be imported by way of the fixture ``kit``."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from runner.data import load
from runner.data.dataset import Dataset
from runner.model import Metric, Progress
from runner.schedules import Shape
from runner.tflib import (
    artifact,
    checkpoint,
    distillation,
    feeding,
    figures,
    measure,
    models,
    objectives,
    optimizers,
    steps,
)
from runner.tflib.loop import fit
from runner.tflib.strategy import Decision, running
from tests.tflib.tables import small

__all__ = [
    "artifact",
    "digits",
    "distillation",
    "feeding",
    "figures",
    "measure",
    "models",
    "optimizers",
    "small",
    "steps",
    "train",
]


def digits() -> Dataset:
    return load(name="digits")


@dataclass
class Trained:
    model: Any
    weights: Any
    events: list[Metric | Progress]

    def series(self, name: str) -> list[tuple[int | None, float]]:
        return [(e.step, e.value) for e in self.events if isinstance(e, Metric) and e.name == name]

    @property
    def losses(self) -> Any:
        return np.array([value for _, value in self.series("train/loss")])


def train(
    data: Dataset,
    *,
    name: str = "mlp",
    args: dict[str, Any] | None = None,
    model: Any = None,
    replicas: int = 1,
    passes: int = 1,
    batch: int = 64,
    total_steps: int = 20,
    seed: int = 0,
    optimizer: str = "sgd",
    learning_rate: float = 1e-2,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    schedule: str = "constant",
    precision: str = "fp32",
    checkpoints: Any = None,
    stop_after: int | None = None,
    label_smoothing: float = 0.0,
    objective: Any = None,
    joined: Any = None,
    rank: int = 0,
    **settings: Any,
) -> Trained:
    """``joined`` is the strategy of a gang, of which this is ``rank``."""
    kind = "one_device" if replicas == 1 else "mirrored"
    decision = Decision(strategy=kind, replicas=replicas, reason="")  # type: ignore[arg-type]
    with running(decision) if joined is None else nullcontext(joined) as strategy:
        with strategy.scope():
            if model is None:
                spec = models.ModelSpec(name=name, args=args or {})
                built = models.build(spec, data, seed=seed, precision=precision)
            else:
                built = model()
            made = optimizers.make_optimizer(
                built.trainable_variables,
                name=optimizer,  # type: ignore[arg-type]
                learning_rate=learning_rate,
                weight_decay=weight_decay,
                momentum=momentum,
                schedule=Shape(name=schedule, warmup_steps=0, total_steps=total_steps),  # type: ignore[arg-type]
            )
        taken = steps.Steps(
            strategy,
            built,
            made,
            feeding.Portions(samples=batch, passes=passes, replicas=replicas),
            objective=objective(strategy)
            if objective is not None
            else objectives.CrossEntropy(label_smoothing=label_smoothing),
            **settings,
        )
        scores = steps.Scores(strategy, built, data)
        kept = None
        if checkpoints is not None:
            kept = checkpoint.Checkpoints(
                checkpoints,
                every_steps=3,
                keep=2,
                model=built,
                optimizer=made,
                is_writer=rank == 0,
            )
        events = []
        for event in fit(
            taken,
            scores,
            data,
            global_batch_size=batch,
            total_steps=total_steps,
            seed=seed,
            checkpoints=kept,
        ):
            events.append(event)
            if stop_after is not None and getattr(event, "step", None) == stop_after:
                break
    weights = np.concatenate([variable.numpy().ravel() for variable in built.weights])
    return Trained(built, weights, events)
