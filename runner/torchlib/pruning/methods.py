"""The ways to prune a model: zeros among its weights, or fewer channels and heads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from runner.errors import TaskError
from runner.torchlib.data import Dataset
from runner.torchlib.layout import arrange
from runner.torchlib.pruning import zeros
from runner.torchlib.pruning.channels import Group, masks, remove
from runner.torchlib.pruning.dependencies import prunable
from runner.torchlib.pruning.gradual import Choose
from runner.torchlib.pruning.importance import kept, least, magnitudes, taylor

Importance: TypeAlias = Literal["magnitude", "taylor"]
Score: TypeAlias = Callable[[nn.Module, Iterable[Group]], dict[Group, Tensor]]

_TRIED, _SHOWN = 8, 12


class Method(Protocol):
    """What a model is pruned by; it goes by names, so that it does for every copy of the model."""

    @property
    def left_out(self) -> Mapping[str, str]:
        """Layers, or weights, that it leaves as they are, and why."""

    def choose(self, model: nn.Module) -> Choose:
        """What gives the masks of a sparsity for ``model`` as it is by then."""

    def cut(self, model: nn.Module) -> None:
        """Prunes ``model`` to the end."""

    def told(self) -> str:
        """What it does to the model, in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Zeroing:
    """Single weights of ``layers``: the smallest or, where so, the smaller two of every four."""

    layers: tuple[str, ...]
    left_out: Mapping[str, str]
    sparsity: float
    scope: zeros.Scope
    is_two_of_four: bool

    def choose(self, model: nn.Module) -> Choose:
        """As Method."""
        # Looked up each time, as moving a model may give it other parameters.
        if self.is_two_of_four:
            return lambda sparsity: zeros.two_of_four(self._weights(model))
        return lambda sparsity: zeros.smallest(
            self._weights(model), sparsity=sparsity, scope=self.scope
        )

    def cut(self, model: nn.Module) -> None:
        """As Method."""
        with torch.no_grad():
            for parameter, mask in self.choose(model)(self.sparsity):
                parameter.mul_(mask)

    def told(self) -> str:
        """As Method."""
        among = "of every four inputs two" if self.is_two_of_four else f"{self.sparsity:.0%}"
        return f"{among} of the weights of {_listed(self.layers)} set to zero"

    def _weights(self, model: nn.Module) -> dict[str, nn.Parameter]:
        return {name: model.get_submodule(name).get_parameter("weight") for name in self.layers}


@dataclass(frozen=True, kw_only=True, slots=True)
class Removing:
    """Whole channels and heads of ``groups``, those with the lowest ``score``."""

    groups: tuple[Group, ...]
    left_out: Mapping[str, str]
    sparsity: float
    round_to: int
    score: Score

    def choose(self, model: nn.Module) -> Choose:
        """As Method."""
        return lambda sparsity: masks(model, self._least(model, sparsity))

    def cut(self, model: nn.Module) -> None:
        """As Method."""
        remove(model, self._least(model, self.sparsity))

    def told(self) -> str:
        """As Method."""
        return "removed: " + _listed(
            f"{group.name} from {group.units} to {self.left(group, self.sparsity)} {group.what}"
            for group in self.groups
        )

    def left(self, group: Group, sparsity: float) -> int:
        """How many units of ``group`` stay."""
        return kept(group.units, sparsity, 1 if group.are_heads else self.round_to)

    def _least(self, model: nn.Module, sparsity: float) -> dict[Group, Tensor]:
        scores = self.score(model, self.groups)
        goes = {group: group.units - self.left(group, sparsity) for group in self.groups}
        return least(scores, goes)


def zeroing(
    model: nn.Module,
    *,
    sparsity: float,
    scope: zeros.Scope = "global",
    ignore: Iterable[str] = (),
    is_two_of_four: bool = False,
) -> Zeroing:
    """Zeros for single weights of all linear layers and convolutions that ``ignore`` leaves.

    Raises TaskError if there are none, a pattern of ``ignore`` fits no layer, or two of every four
    are asked for and a layer's inputs don't divide by four.
    """
    found, left_out = zeros.weights(model, ignore=ignored(model, ignore))
    if is_two_of_four:
        zeros.check_fours(found)
    return Zeroing(
        layers=tuple(found),
        left_out=left_out,
        sparsity=sparsity,
        scope=scope,
        is_two_of_four=is_two_of_four,
    )


def removing(
    model: nn.Module,
    data: Dataset,
    *,
    sparsity: float,
    round_to: int,
    importance: Importance,
    ignore: Iterable[str] = (),
    device: str = "cpu",
) -> Removing:
    """Channels and heads of ``model``, which is in eval mode on the CPU, as far as they can go.

    Raises TaskError as ``prunable`` does, if a pattern of ``ignore`` fits no layer, or if all
    layers are too narrow for one unit less.
    """
    samples = arrange(data.train_inputs[:_TRIED], torch.contiguous_format)
    found = prunable(model, samples, ignore=ignored(model, ignore))
    method = Removing(
        groups=tuple(found.groups),
        left_out=found.left_out,
        sparsity=sparsity,
        round_to=round_to,
        score=magnitudes
        if importance == "magnitude"
        else partial(taylor, data=data, device=device),
    )
    if all(method.left(group, sparsity) == group.units for group in method.groups):
        raise TaskError(
            f"sparsity {sparsity:g} rounded to multiples of {round_to} removes nothing of "
            f"{_listed(f'{each.name} with {each.units} {each.what}' for each in method.groups)}",
            hint="raise sparsity, or lower round_to",
        )
    return method


def ignored(model: nn.Module, patterns: Iterable[str]) -> set[str]:
    """The layers that patterns name, such as ``head`` or ``blocks.*.up``, and those inside them.

    Raises TaskError for one that names none.
    """
    names = [name for name, _ in model.named_modules() if name]
    found: set[str] = set()
    for pattern in patterns:
        named = [name for name in names if fnmatchcase(name, pattern)]
        if not named:
            raise TaskError(
                f"'ignore' names {pattern}, and the model has no such layer",
                hint=f"its layers are {_listed(names)}",
            )
        found |= {name for name in names for outer in named if f"{name}.".startswith(f"{outer}.")}
    return found


def left_out_told(left_out: Mapping[str, str]) -> str:
    """Layers and why they are left out, those with the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for name, why in left_out.items():
        by_reason.setdefault(why, []).append(name)
    return "; ".join(f"{_listed(names)} ({why})" for why, names in by_reason.items())


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more
