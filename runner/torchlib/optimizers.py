"""The optimizers: Adam, AdamW and SGD with PyTorch's fused kernels, Adafactor, and Muon.

These have torch.optim's numbers and state. Of the fused ones two things are taken out of their way:
constructing or stepping a stock optimizer imports torch._dynamo, which takes about a second and
nothing here uses; and the stock step collects its lists of tensors anew each time, which on a small
model costs as much as the update itself.
"""

from __future__ import annotations

import inspect
from collections import ChainMap
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from runner.errors import TaskError
from runner.torchlib.layout import local

OptimizerName = Literal["adamw", "adam", "sgd", "adafactor", "muon"]

_AdamTensors: TypeAlias = tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]
_SGDTensors: TypeAlias = tuple[list[Tensor], list[Tensor]]
_Kept = TypeVar("_Kept", _AdamTensors, _SGDTensors)

# The method below its decorator, which does nothing but import torch._dynamo to switch it off.
_add_param_group: Callable[[Optimizer, dict[str, Any]], None] = inspect.unwrap(
    Optimizer.add_param_group
)


class FusedAdam(torch.optim.Adam):
    """Adam (Kingma and Ba 2015) or, decoupled, AdamW (Loshchilov and Hutter 2019), fused."""

    _gathered: list[_AdamTensors] | None = None

    def __init__(self, params: Iterable[dict[str, Any]], **settings: Any) -> None:
        super().__init__(params, fused=True, **settings)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters with settings of their own."""
        self._gathered = None
        _add_param_group(self, param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._gathered = None
        super().__setstate__(state)  # type: ignore[no-untyped-call]

    def step(self) -> None:  # type: ignore[override]
        """Updates every parameter that has a gradient."""
        scale, overflow = _given_by_scaler(self) if hasattr(self, "found_inf") else (None, None)
        if self._gathered is None:
            self._gathered = [self._gather(group) for group in self.param_groups]
        with torch.no_grad():
            for group, tensors in zip(self.param_groups, self._gathered, strict=True):
                kept, gradients = _with_gradients(group["params"], tensors)
                parameters, averages, squares, steps = kept
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
                    grad_scale=scale,
                    found_inf=overflow,
                )
                if overflow is not None:
                    torch._foreach_sub_(steps, [overflow] * len(steps))

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
            [local(state[name]) for state in states] for name in ("exp_avg", "exp_avg_sq", "step")
        )
        return [local(parameter) for parameter in group["params"]], averages, squares, steps


class FusedSGD(torch.optim.SGD):
    """Stochastic gradient descent with momentum, fused."""

    _gathered: list[_SGDTensors] | None = None

    def __init__(self, params: Iterable[dict[str, Any]], **settings: Any) -> None:
        super().__init__(params, fused=True, **settings)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters with settings of their own."""
        self._gathered = None
        _add_param_group(self, param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._gathered = None
        super().__setstate__(state)  # type: ignore[no-untyped-call]

    def step(self) -> None:  # type: ignore[override]
        """Updates every parameter that has a gradient."""
        scale, overflow = _given_by_scaler(self) if hasattr(self, "found_inf") else (None, None)
        if self._gathered is None:
            self._gathered = [self._gather(group) for group in self.param_groups]
        with torch.no_grad():
            for group, tensors in zip(self.param_groups, self._gathered, strict=True):
                kept, gradients = _with_gradients(group["params"], tensors)
                parameters, momenta = kept
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
                    grad_scale=scale,
                    found_inf=overflow,
                )

    step.hooked = True  # type: ignore[attr-defined]

    def _gather(self, group: dict[str, Any]) -> _SGDTensors:
        for parameter in group["params"]:
            state = self.state[parameter]
            state["momentum_buffer"] = _like(parameter, state.get("momentum_buffer"))
        momenta = [local(self.state[p]["momentum_buffer"]) for p in group["params"]]
        return [local(parameter) for parameter in group["params"]], momenta


def _given_by_scaler(optimizer: Optimizer) -> tuple[Tensor | None, Tensor | None]:
    """What a GradScaler leaves for a fused step: a scale still to divide by, and 1 for an overflow.

    The kernels look at it on the device, so that nobody waits to know whether the step is left out.
    """
    given = (getattr(optimizer, name, None) for name in ("grad_scale", "found_inf"))
    device = optimizer.param_groups[0]["params"][0].device
    scale, overflow = (tensor if tensor is None else tensor.to(device) for tensor in given)
    return scale, overflow


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


def _with_gradients(parameters: list[Tensor], tensors: _Kept) -> tuple[_Kept, list[Tensor]]:
    """Of the ``tensors`` of each parameter those that have a gradient, and these gradients."""
    gradients = [parameter.grad for parameter in parameters]
    found = [local(gradient) for gradient in gradients if gradient is not None]
    if len(found) == len(gradients):
        return tensors, found
    kept = tuple(
        [tensor for tensor, gradient in zip(each, gradients, strict=True) if gradient is not None]
        for each in tensors
    )
    return kept, found  # type: ignore[return-value]


def make_optimizer(
    parameters: Iterable[nn.Parameter],
    *,
    name: OptimizerName = "adamw",
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    betas: tuple[float, float] = (0.9, 0.999),
    embeddings: Collection[nn.Parameter] = (),
) -> Optimizer:
    """An optimizer over the parameters that are to be trained.

    Weight decay acts on matrices and kernels (two dimensions or more), not on biases and the scales
    of norms, which it would only pull from where they belong. It is decoupled for adamw, and an L2
    term in the gradient for adam and sgd. ``momentum`` is for sgd, ``betas`` for adam and adamw.

    muon (Jordan et al. 2024) updates matrices, with steps as large as those of AdamW (Liu et al.
    2025, section 2.2), which updates the rest: all that is no matrix, and ``embeddings``, whose
    rows are no directions of one space. adafactor is that of Shazeer and Stern 2018.

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
    if name == "adafactor":
        from runner.torchlib.adafactor import Adafactor

        return Adafactor(groups, lr=learning_rate)
    if name == "muon":
        return _muon(groups, learning_rate, betas, embeddings)
    return FusedAdam(
        groups,
        lr=learning_rate,
        betas=betas,
        decoupled_weight_decay=name == "adamw",
    )


class Together(Optimizer):
    """Several optimizers that step as one, each with parameters of its own."""

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        self.parts = parts
        self.param_groups = [group for part in parts for group in part.param_groups]
        self.state = ChainMap(*(part.state for part in parts))  # type: ignore[assignment]
        self.defaults = {}
        self._step_supports_amp_scaling = False

    def step(self) -> None:  # type: ignore[override]
        """Every part's step."""
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Of every part."""
        for part in self.parts:
            part.zero_grad(set_to_none)


def _muon(
    groups: list[dict[str, Any]],
    learning_rate: float,
    betas: tuple[float, float],
    embeddings: Collection[nn.Parameter],
) -> Optimizer:
    apart = {id(parameter) for parameter in embeddings}
    parts: list[Optimizer] = []
    for is_matrix in (True, False):
        chosen = [
            {**group, "params": [p for p in group["params"]
                                 if (p.ndim == 2 and id(p) not in apart) == is_matrix]}
            for group in groups
        ]  # fmt: skip
        chosen = [group for group in chosen if group["params"]]
        if chosen and is_matrix:
            parts.append(torch.optim.Muon(chosen, lr=learning_rate, adjust_lr_fn="match_rms_adamw"))
        elif chosen:
            parts.append(
                FusedAdam(chosen, lr=learning_rate, betas=betas, decoupled_weight_decay=True)
            )
    return Together(parts)
