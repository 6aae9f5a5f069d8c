"""Early stopping: a training ends when it no longer gets better, with the weights it was best with.

Prechelt 1998, "Early stopping - but when?", section 2.1, the criterion UP counted in evaluations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch

from runner.model import Metric
from runner.torchlib.engine import Engine
from runner.torchlib.measure import Score
from runner.torchlib.weights import Copy

Watched = Literal["test/loss", "test/accuracy"]


class EarlyStopping:
    """Follows ``metric`` from evaluation to evaluation, and keeps the weights of the best.

    Better is what differs from the best by more than ``min_delta``. After ``patience`` evaluations
    in a row that were none, it is time to stop. All ranks decide alike.
    """

    def __init__(
        self, engine: Engine, *, patience: int, metric: Watched, min_delta: float = 0.0
    ) -> None:
        self.patience = patience
        self.metric = metric
        self.min_delta = min_delta
        self.best = Copy(engine, "best")
        self._engine = engine
        self._best_value: float | None = None
        self._best_step = 0
        self._without_gain = 0

    def see(self, score: Score, step: int) -> bool:
        """Takes in the score after ``step``; whether to stop."""
        value = score.loss if self.metric == "test/loss" else score.accuracy
        if self._is_better(value):
            self.best.take()
            self._best_value, self._best_step, self._without_gain = value, step, 0
        else:
            self._without_gain += 1
        return self._without_gain >= self.patience

    def _is_better(self, value: float) -> bool:
        is_better = self._best_value is None
        if self._best_value is not None:
            gain = value - self._best_value
            is_better = (gain if self.metric == "test/accuracy" else -gain) > self.min_delta
        # Should scores differ in their last bits, one rank that found a gain speaks for all.
        vote = torch.tensor(float(is_better), device=self._engine.device)
        return bool(self._engine.total(vote).item() > 0)

    def end(self, step: int, total_steps: int) -> Iterator[Metric]:
        """Gives the model the best weights; yields where they are from, and if it ended early."""
        self.best.put()
        yield Metric(name="train/best_step", value=self._best_step)
        if step < total_steps:
            yield Metric(name="train/stopped_at_step", value=step)

    def notes(self) -> dict[str, float | None]:
        """What a resumed run has to know besides the best weights."""
        return {
            "best_value": self._best_value,
            "best_step": self._best_step,
            "without_gain": self._without_gain,
        }

    def restore(self, notes: Mapping[str, float | None]) -> None:
        """Takes up what ``notes`` gave."""
        self._best_value = notes["best_value"]
        self._best_step = int(notes["best_step"] or 0)
        self._without_gain = int(notes["without_gain"] or 0)
