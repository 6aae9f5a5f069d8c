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
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from runner.errors import TaskError

OptimizerName = Literal["adamw", "adam", "sgd"]
ScheduleName = Literal["constant", "linear", "cosine"]

_AdamTensors: TypeAlias = tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]
_SGDTensors: TypeAlias = tuple[list[Tensor], list[Tensor]]

# The method below its decorator, which does nothing but import torch._dynamo to switch it off.
_add_param_group: Callable[[Optimizer, dict[str, Any]], None] = inspect.unwrap(
    Optimizer.add_param_group
)


class FusedAdam(torch.optim.Adam):
    """Adam (Kingma and Ba 2015) or, decoupled, AdamW (Loshchilov and Hutter 2019), fused."""

    _gathered: list[_AdamTensors] | None = None

    def __init__(self, params: Iterable[dict[str, Any]], **settings: Any) -> None:
        super().__init__(params, fused=True, **settings)
        # So that a GradScaler unscales the gradients itself, and does not leave it to this step.
        self._step_supports_amp_scaling = False

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters with settings of their own."""
        self._gathered = None
        _add_param_group(self, param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._gathered = None
        super().__setstate__(state)  # type: ignore[no-untyped-call]

    def step(self) -> None:  # type: ignore[override]
        """Updates every parameter that has a gradient."""
        if self._gathered is None:
            self._gathered = [self._gather(group) for group in self.param_groups]
        with torch.no_grad():
            for group, tensors in zip(self.param_groups, self._gathered, strict=True):
                lists, gradients = _with_gradients(tensors)
                parameters, averages, squares, steps = lists
                torch._foreach_add_(steps, 1)
                beta1, beta2 = group["betas"]
                adamw = group["decoupled_weight_decay"]
                (torch._fused_adamw_ if adamw else torch._fused_adam_)(
                    parameters,
                    gradients,
                    averages,
                    squares,
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

    # torch.optim wraps a step in a profiler range and a search for hooks unless this says that it
    # has: as long again as the work of the step itself for a small model.
    step.hooked = True  # type: ignore[attr-defined]

    def _gather(self, group: dict[str, Any]) -> _AdamTensors:
        for parameter in group["params"]:
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros((), device=parameter.device)
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = _like(parameter, state.get(name))
        states = [self.state[parameter] for parameter in group["params"]]
        averages, squares, steps = (
            [state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step")
        )
        return group["params"], averages, squares, steps


class FusedSGD(torch.optim.SGD):
    """Stochastic gradient descent with momentum, fused."""

    _gathered: list[_SGDTensors] | None = None

    def __init__(self, params: Iterable[dict[str, Any]], **settings: Any) -> None:
        super().__init__(params, fused=True, **settings)
        self._step_supports_amp_scaling = False

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters with settings of their own."""
        self._gathered = None
        _add_param_group(self, param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._gathered = None
        super().__setstate__(state)  # type: ignore[no-untyped-call]

    def step(self) -> None:  # type: ignore[override]
        """Updates every parameter that has a gradient."""
        if self._gathered is None:
            self._gathered = [self._gather(group) for group in self.param_groups]
        with torch.no_grad():
            for group, tensors in zip(self.param_groups, self._gathered, strict=True):
                lists, gradients = _with_gradients(tensors)
                parameters, momenta = lists
                torch._fused_sgd_(
                    parameters,
                    gradients,
                    momenta if group["momentum"] else [],
                    weight_decay=group["weight_decay"],
                    momentum=group["momentum"],
                    lr=group["lr"],
                    dampening=0.0,
                    nesterov=False,
                    maximize=False,
                    # Momentum starts at zero here, which makes the first step like any other.
                    is_first_step=False,
                )

    step.hooked = True  # type: ignore[attr-defined]

    def _gather(self, group: dict[str, Any]) -> _SGDTensors:
        for parameter in group["params"]:
            state = self.state[parameter]
            state["momentum_buffer"] = _like(parameter, state.get("momentum_buffer"))
        momenta = [self.state[parameter]["momentum_buffer"] for parameter in group["params"]]
        return group["params"], momenta


def _like(parameter: Tensor, state: Tensor | None) -> Tensor:
    """``state``, zeros if there is none, laid out in memory as ``parameter`` is.

    The fused kernels of the CPU walk through raw memory and check no strides (torch 2.13): with a
    state restored in another layout they would update each weight with another one's moments.
    """
    if state is None:
        return torch.zeros_like(parameter)
    return (
        state if state.stride() == parameter.stride() else torch.empty_like(parameter).copy_(state)
    )


def _with_gradients(tensors: tuple[list[Tensor], ...]) -> tuple[list[list[Tensor]], list[Tensor]]:
    gradients = [parameter.grad for parameter in tensors[0]]
    found = [gradient for gradient in gradients if gradient is not None]
    if len(found) == len(gradients):
        return list(tensors), found
    kept = [
        [tensor for tensor, gradient in zip(each, gradients, strict=True) if gradient is not None]
        for each in tensors
    ]
    return kept, found


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
        return FusedSGD(groups, lr=learning_rate, momentum=momentum)
    return FusedAdam(
        groups,
        lr=learning_rate,
        betas=betas,
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
