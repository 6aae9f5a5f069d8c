"""The learning rate of each step as a part of the full rate, whatever framework steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from runner.errors import TaskError

ScheduleName = Literal["constant", "linear", "cosine", "one-cycle"]

# Of Smith and Topin 2018, with torch.optim.lr_scheduler.OneCycleLR's numbers: where it begins, as a
# part of the full rate, where it ends as a part of that, and how much of the training it rises.
_BEGIN, _END, _RISE = 1 / 25, 1e-4, 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A linear warm-up to the full rate, then ``name``'s decay, over ``total_steps``.

    one-cycle rises and falls along half a cosine, and rises over ``warmup_steps``, or over three
    tenths of the training where that is 0. The rate is a function of the step alone, so that a
    resumed run goes on with the right one.
    """

    name: ScheduleName
    warmup_steps: int
    total_steps: int

    def check(self) -> None:
        """Raises TaskError if the warm-up is longer than the training."""
        if self.warmup_steps > self.total_steps:
            raise TaskError(
                f"a warm-up of {self.warmup_steps} steps does not fit into {self.total_steps} "
                "steps of training",
                hint="lower warmup_steps, or train longer",
            )

    def factor(self, step: int) -> float:
        """The rate of ``step`` (from 0) as a part of the full rate, in (0, 1]."""
        if self.name == "one-cycle":
            return self._one_cycle(step)
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.name == "constant":
            return 1.0
        done = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return 1.0 - done if self.name == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))

    def _one_cycle(self, step: int) -> float:
        last = self.total_steps - 1
        top = (self.warmup_steps or _RISE * self.total_steps) - 1
        if step <= top:
            return _along_cosine(_BEGIN, 1.0, step / max(1.0, top))
        return _along_cosine(1.0, _BEGIN * _END, (step - top) / max(1.0, last - top))


def _along_cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * part))
