"""Copies of a model's weights: an average over the steps, or how they were at their best."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from runner.torchlib.engine import Engine
from runner.torchlib.layout import local


class Copy:
    """A second set of the weights that this rank holds, whole or in shards.

    Weights are the parameters in training, and buffers of floating-point numbers, such as the
    statistics of batch norm, which belong to them. They are copied as ``dtype``, by default as they
    are. ``name`` is that of the copy, in checkpoints.
    """

    def __init__(self, engine: Engine, name: str, *, dtype: torch.dtype | None = None) -> None:
        self._engine = engine
        held = engine.local_state()
        weights: dict[str, Tensor] = {
            key: parameter
            for key, parameter in engine.model.named_parameters()
            if key in held and parameter.requires_grad
        }
        weights |= {
            key: buffer
            for key, buffer in engine.model.named_buffers()
            if key in held and buffer.is_floating_point()
        }
        # Of shards, not of what a rank holds of them, so that a checkpoint knows how they lie.
        self._copies = {
            f"{name}.{key}": weight.detach().clone().to(dtype or weight.dtype)
            for key, weight in weights.items()
        }
        self._ours = [local(copy) for copy in self._copies.values()]
        self._models = [local(weight).detach() for weight in weights.values()]

    def tensors(self) -> dict[str, Tensor]:
        """The copies by name, in the same memory."""
        return self._copies

    @torch.no_grad()
    def take(self) -> None:
        """Copies the weights of the model."""
        torch._foreach_copy_(self._ours, self._models)

    @torch.no_grad()
    def put(self) -> None:
        """Gives the model the weights of the copy."""
        torch._foreach_copy_(self._models, self._ours)
        self._engine.refresh()


class Average(Copy):
    """The exponential moving average of the weights (Polyak and Juditsky 1992 for a plain mean).

    After n steps it moves by 1 - d towards the weights, d the lesser of ``decay`` and
    (1 + n) / (10 + n), so that a short training is not mostly its beginning. It is kept in fp32.
    """

    def __init__(self, engine: Engine, *, decay: float) -> None:
        super().__init__(engine, "average", dtype=torch.float32)
        self.decay = decay

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Takes in the weights as they are after so many steps."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        weights = [weight.float() for weight in self._models]
        torch._foreach_lerp_(self._ours, weights, 1.0 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the averages for as long as the ``with`` lasts."""
        before = [weight.clone() for weight in self._models]
        self.put()
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._models, before)
            self._engine.refresh()
