"""Adafactor: a second moment as rows times columns (Shazeer and Stern 2018), on divided weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Adafactor(torch.optim.Adafactor):
    """torch.optim's Adafactor, with its numbers, on weights that ranks divide among them too.

    The stock step writes over sums of which each rank still has its part, which DTensor refuses. It
    also waits for the device twice a parameter.
    """

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Updates every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        step = state.setdefault("step", torch.zeros(())).add_(1).item()
        share = step ** group["beta2_decay"]
        eps, least = group["eps"]
        eps = torch.finfo(parameter.dtype).eps if eps is None else eps
        # Section 6 of the paper: steps relative to the size of the weights.
        rate = min(group["lr"], step**-0.5) * _size(parameter).clamp(min=least)
        if group["weight_decay"]:
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
        square = gradient.square()
        if gradient.ndim > 1:
            rows = _follow(state, "row_var", _whole(square.mean(-1, keepdim=True)), share)
            columns = _follow(state, "col_var", _whole(square.mean(-2, keepdim=True)), share)
            mean = _whole(rows.mean(-2, keepdim=True)).clamp(min=eps)
            variance = rows @ columns / mean
        else:
            variance = _follow(state, "variance", square, share)
        update = gradient * variance.clamp(min=eps * eps).rsqrt()
        parameter.sub_(update * (rate / (_size(update) / group["d"]).clamp(min=1.0)))


def _follow(state: dict[str, Tensor], name: str, value: Tensor, share: float) -> Tensor:
    """The running mean of that name, moved by ``share`` towards ``value``."""
    if name not in state:
        state[name] = torch.zeros_like(value)
    return state[name].lerp_(value, share)


def _size(tensor: Tensor) -> Tensor:
    """The root of the mean square."""
    size: Tensor = _whole(tensor.norm(2)) / tensor.numel() ** 0.5
    return size


def _whole(tensor: Tensor) -> Tensor:
    """``tensor`` with every sum that ranks have parts of taken; a plain one as it is."""
    placements = getattr(tensor, "placements", ())
    if not any(placement.is_partial() for placement in placements):
        return tensor
    from torch.distributed.tensor import Replicate

    wanted = [Replicate() if each.is_partial() else each for each in placements]
    whole: Tensor = tensor.redistribute(placements=wanted)  # type: ignore[attr-defined]
    return whole
