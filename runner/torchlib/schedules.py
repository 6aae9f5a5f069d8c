"""The learning rate of each step, set on a PyTorch optimizer."""

from __future__ import annotations

from dataclasses import dataclass

from torch.optim import Optimizer

from runner.schedules import ScheduleName, Shape

__all__ = ["Schedule", "ScheduleName", "make_schedule"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule(Shape):
    """A shape of the learning rate over the steps of a training, and the optimizer it is for."""

    optimizer: Optimizer

    def apply(self, step: int) -> None:
        """Sets the optimizer's learning rate to that of ``step``."""
        factor = self.factor(step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor


def make_schedule(
    optimizer: Optimizer,
    *,
    name: ScheduleName = "constant",
    warmup_steps: int = 0,
    total_steps: int,
) -> Schedule:
    """A schedule for ``optimizer`` over ``total_steps``, whose present rate is the full one.

    Raises TaskError if the warm-up is longer than the training.
    """
    schedule = Schedule(
        optimizer=optimizer, name=name, warmup_steps=warmup_steps, total_steps=total_steps
    )
    schedule.check()
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    return schedule
