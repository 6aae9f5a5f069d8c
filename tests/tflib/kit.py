"""Whole trainings with Keras in one call. To be imported by way of the fixture ``kit``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from runner.data import load
from runner.data.dataset import Dataset, Labelled, from_labelled
from runner.model import Metric, Progress
from runner.schedules import Shape
from runner.tflib import artifact, checkpoint, feeding, measure, models, optimizers, steps
from runner.tflib.loop import fit
from runner.tflib.strategy import Decision, running

__all__ = ["artifact", "digits", "feeding", "measure", "models", "optimizers", "steps", "train"]


def digits() -> Dataset:
    return load(name="digits")


def small(samples: int = 40, features: int = 6, classes: int = 3, seed: int = 0) -> Dataset:
    """A table that is learnt in a moment; a fifth of it is held out."""
    random = np.random.default_rng(seed)
    features = max(features, classes)
    inputs = random.normal(size=(samples, features)).astype(np.float32)
    labels = np.arange(samples) % classes
    inputs[np.arange(samples), labels] += 2.0
    return from_labelled(
        Labelled(inputs=inputs, labels=labels), test_fraction=0.2, seed=0, like=None
    )


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
    **settings: Any,
) -> Trained:
    kind = "one_device" if replicas == 1 else "mirrored"
    decision = Decision(strategy=kind, replicas=replicas, reason="")  # type: ignore[arg-type]
    with running(decision) as strategy:
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
            **settings,
        )
        scores = steps.Scores(strategy, built, data)
        kept = None
        if checkpoints is not None:
            kept = checkpoint.Checkpoints(
                checkpoints, every_steps=3, keep=2, model=built, optimizer=made
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
