"""The losses of a training, summed on the device and over ranks without a step waiting for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from runner.errors import TaskError
from runner.torchlib.engine import Engine


@dataclass(frozen=True, kw_only=True, slots=True)
class _Closed:
    """A point whose steps are over: this rank's losses in them, and the sum that is on its way."""

    step: int
    targets: int
    before: float
    losses: Tensor
    steps: list[int]
    total: Callable[[], Tensor]

    def mean(self) -> float:
        # The only place that waits for the device, and so the place to look for a loss gone wrong.
        total = self.total().item() + self.before
        if not math.isfinite(total):
            wrong = (~self.losses.isfinite()).nonzero()
            if len(wrong):
                value, where = self.losses[wrong[0]].item(), f"step {self.steps[int(wrong[0])] + 1}"
            else:  # on another rank, whose word may come later than this one's
                value, where = total, f"one of the {len(set(self.steps))} steps to {self.step}"
            raise TaskError(
                f"the loss was {value} in {where}",
                hint="lower the learning rate, add warmup_steps or max_grad_norm, or look for "
                "values in the data that are not finite",
            )
        return total / self.targets


class Losses:
    """The mean loss of each point, a number of steps that follow each other.

    In a gang a point's sums travel while the next steps run, so that no rank waits for them.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._losses: list[Tensor] = []
        self._steps: list[int] = []
        self._targets = 0
        self._before = 0.0
        self._pending: _Closed | None = None
        self._points: list[tuple[int, float]] = []
        self._last: float | None = None

    def add(self, step: int, losses: list[Tensor], targets: int) -> None:
        """The losses that this rank computed in a step, and the targets of all ranks in it."""
        self._losses += losses
        self._steps += [step] * len(losses)
        self._targets += targets

    def close(self, step: int) -> None:
        """Ends a point with the steps so far, and begins the next. Every rank must do so."""
        self._settle()
        self._pending = self._sum(step)
        self._losses, self._steps = [], []
        self._targets, self._before = 0, 0.0

    def points(self, *, is_last: bool) -> Iterator[tuple[int, float]]:
        """The points not told yet, each its step and its mean over the targets.

        The newest is among them with the next one, or where ``is_last`` or no other rank has a
        part in it. Raises TaskError for a loss that is not finite.
        """
        if is_last or self._engine.is_alone:
            self._settle()
        told, self._points = self._points, []
        yield from told

    def recent(self) -> float | None:
        """The mean of the newest steps that can be known without asking other ranks."""
        if self._engine.is_alone and self._targets:
            return self._sum(self._steps[-1]).mean()
        return self._last

    def notes(self) -> dict[str, Any]:
        """What a resumed run has to know to give the same points. Every rank must ask."""
        self._settle()
        total = self._sum(0).mean() * self._targets if self._targets else 0.0
        return {"loss_sum": total, "targets": self._targets, "points": list(self._points)}

    def restore(self, notes: Mapping[str, Any]) -> None:
        """Takes up what ``notes`` gave."""
        self._before, self._targets = notes["loss_sum"], int(notes["targets"])
        self._points = [(int(step), float(mean)) for step, mean in notes["points"]]

    def _sum(self, step: int) -> _Closed:
        losses = torch.stack(self._losses).double() if self._losses else torch.zeros(1).double()
        return _Closed(
            step=step,
            targets=self._targets,
            before=self._before,
            losses=losses,
            steps=self._steps,
            total=self._engine.summing(losses.sum()),
        )

    def _settle(self) -> None:
        if self._pending is not None:
            closed, self._pending = self._pending, None
            self._last = closed.mean()
            self._points.append((closed.step, self._last))
