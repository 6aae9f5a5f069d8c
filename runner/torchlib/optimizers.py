"""Adam, AdamW and SGD with PyTorch's fused kernels, and schedules of their learning rate.

These are torch.optim's own classes and state; two things are taken out of their way. Constructing
or stepping a stock optimizer imports torch._dynamo, which takes about a second and nothing here
uses; and the stock step collects its lists of tensors anew each time, which on a small model costs
as much as the update itself.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from runner.errors import TaskError

OptimizerName = Literal["adamw", "adam", "sgd"]
ScheduleName = Literal["constant", "linear", "cosine"]

# The method below its decorator, which does nothing but import torch._dynamo to switch it off.
_add_param_group: Callable[[Optimizer, dict[str, Any]], None] = inspect.unwrap(
    Optimizer.add_param_group
)


class FusedAdam(torch.optim.Adam):
    """Adam (Kingma and Ba 2015) or, decoupled, AdamW (Loshchilov and Hutter 2019), fused."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters with settings of their own."""
        _add_param_group(self, param_group)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Updates every parameter that has a gradient."""
        for group in self.param_groups:
            parameters, gradients = _with_gradients(group)
            if not parameters:
                continue
            states = [self.state[parameter] for parameter in parameters]
            if not states[-1] or not all(states):
                self._init_group(group, [], [], [], [], [], [])  # type: ignore[no-untyped-call]
            steps = [state["step"] for state in states]
            torch._foreach_add_(steps, 1)
            update = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
            beta1, beta2 = group["betas"]
            update(
                parameters,
                gradients,
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                steps,
                lr=group["lr"],
                beta1=beta1,
                beta2=beta2,
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )


class FusedSGD(torch.optim.SGD):
    """Stochastic gradient descent with momentum, fused."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters with settings of their own."""
        _add_param_group(self, param_group)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Updates every parameter that has a gradient."""
        for group in self.param_groups:
            parameters, gradients = _with_gradients(group)
            if not parameters:
                continue
            momenta: list[Tensor] = []
            is_first_step = False
            if group["momentum"]:
                is_first_step = "momentum_buffer" not in self.state[parameters[0]]
                for parameter in parameters:
                    state = self.state[parameter]
                    if "momentum_buffer" not in state:
                        state["momentum_buffer"] = torch.zeros_like(parameter)
                    momenta.append(state["momentum_buffer"])
            torch._fused_sgd_(
                parameters,
                gradients,
                momenta,
                weight_decay=group["weight_decay"],
                momentum=group["momentum"],
                lr=group["lr"],
                dampening=0.0,
                nesterov=False,
                maximize=False,
                is_first_step=is_first_step,
            )


def _with_gradients(group: dict[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
    parameters: list[Tensor] = group["params"]
    gradients = [parameter.grad for parameter in parameters]
    found = [gradient for gradient in gradients if gradient is not None]
    if len(found) == len(parameters):
        return parameters, found
    return [parameter for parameter in parameters if parameter.grad is not None], found


def make_optimizer(
    parameters: Iterable[nn.Parameter],
    *,
    name: OptimizerName = "adamw",
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    betas: tuple[float, float] = (0.9, 0.999),
) -> Optimizer:
    """An optimizer with a fused step over the parameters that are to be trained.

    Weight decay acts on matrices and kernels (two dimensions or more), not on biases and the scales
    of norms, which it would only pull from where they belong. It is decoupled for adamw, and an L2
    term in the gradient for adam and sgd. ``momentum`` is for sgd, ``betas`` for the others.
    Raises TaskError if nothing is to be trained.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        raise TaskError("the model has no parameters to train")
    groups: list[dict[str, Any]]
    if weight_decay:
        decayed = [parameter for parameter in trained if parameter.ndim >= 2]
        others = [parameter for parameter in trained if parameter.ndim < 2]
        groups = [
            {"params": decayed, "weight_decay": weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
    else:
        groups = [{"params": trained, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if name == "sgd":
        return FusedSGD(groups, lr=learning_rate, momentum=momentum, fused=True)
    return FusedAdam(
        groups,
        lr=learning_rate,
        betas=betas,
        fused=True,
        decoupled_weight_decay=name == "adamw",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """The learning rate of each step: a linear warm-up to the full rate, then ``name``'s decay.

    It is a function of the step alone, so that a resumed run goes on with the right rate.
    """

    optimizer: Optimizer
    name: ScheduleName
    warmup_steps: int
    total_steps: int

    def factor(self, step: int) -> float:
        """The rate of ``step`` (from 0) as a part of the full rate, in (0, 1]."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.name == "constant":
            return 1.0
        done = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return 1.0 - done if self.name == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))

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
    if warmup_steps > total_steps:
        raise TaskError(
            f"a warm-up of {warmup_steps} steps does not fit into {total_steps} steps of training",
            hint="lower warmup_steps, or train longer",
        )
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    return Schedule(
        optimizer=optimizer, name=name, warmup_steps=warmup_steps, total_steps=total_steps
    )
