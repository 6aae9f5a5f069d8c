"""Weights that stay at zero through a training, all from the start or ever more of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

Choose: TypeAlias = Callable[[float], list[tuple[nn.Parameter, Tensor]]]
"""For a sparsity, the parameters and what to multiply them with."""

# Of a gradual pruning: it is done after this part of the training, in so many portions.
_RAMP, _PORTIONS = 2 / 3, 20


class Zeros:
    """Multiplies weights with their masks after every step of a training.

    ``choose`` gives the masks of a sparsity. With ``total_steps`` it rises to ``sparsity`` over two
    thirds of them along the cubic of ``sparsity_at``, and masks are chosen anew twenty times;
    without, they are chosen once, before the first step.
    """

    def __init__(self, choose: Choose, *, sparsity: float, total_steps: int | None = None) -> None:
        self._choose, self._sparsity = choose, sparsity
        self._ramp = 0 if total_steps is None else max(1, math.floor(_RAMP * total_steps))
        self._every = max(1, self._ramp // _PORTIONS)
        self._masks: list[tuple[nn.Parameter, Tensor]] = []

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Sets to zero what is to be after so many steps, 0 before the first."""
        if not self._ramp:
            self._masks = self._masks or self._choose(self._sparsity)
        elif 0 < step <= self._ramp and (step % self._every == 0 or step == self._ramp):
            self._masks = self._choose(sparsity_at(step, self._ramp, self._sparsity))
        for parameter, mask in self._masks:
            parameter.mul_(mask)


def sparsity_at(step: int, steps: int, sparsity: float) -> float:
    """s_f - s_f (1 - t / n)^3, from 0 to ``sparsity`` over ``steps`` (Zhu and Gupta 2017, eq. 1).

    Many weights go early, while there are many, and few late.
    """
    return sparsity * (1.0 - (1.0 - min(1.0, step / steps)) ** 3)
