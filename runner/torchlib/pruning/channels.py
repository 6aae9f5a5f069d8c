"""Which channels of a model go together, and a model without some of them.

A channel of one layer is a column of the next one's weights and a number of the batch norm between,
and layers whose outputs are added share their channels: these are removed together or not at all
(Fang et al. 2023, "DepGraph: towards any structural pruning").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from runner.torchlib.widths import Side, arguments, narrow


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cut:
    """What a group has of one layer: row u of ``indices`` are unit u's channels on that side."""

    layer: str
    side: Side
    indices: Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Group:
    """Channels, or heads of attention, each of which can go or stay, in all layers that share it.

    ``name`` is a layer that makes them, ``makers`` are all of those; each of the ``cuts`` has a row
    a unit.
    """

    name: str
    cuts: tuple[Cut, ...]
    are_heads: bool = False

    @property
    def units(self) -> int:
        """How many there are."""
        return len(self.cuts[0].indices)

    @property
    def makers(self) -> list[str]:
        """The layers whose outputs they are."""
        return [cut.layer for cut in self.cuts if cut.side == "out"]

    @property
    def what(self) -> str:
        """What its units are called."""
        return "heads" if self.are_heads else "channels"


Removed: TypeAlias = Mapping[Group, Tensor]
"""Of each group, the indices of units that go."""


def remove(model: nn.Module, removed: Removed) -> None:
    """Takes the units out of ``model``, which has fewer parameters then and is otherwise the same.

    What it computes is what it would with their weights at zero.
    """
    for layer, side, gone in _by_side(removed):
        module = model.get_submodule(layer)
        width = getattr(module, arguments(module, side)[0])
        is_kept = torch.ones(width, dtype=torch.bool)
        is_kept[gone] = False
        narrow(module, side, is_kept.nonzero().flatten())


def masks(model: nn.Module, removed: Removed) -> list[tuple[nn.Parameter, Tensor]]:
    """Parameters of ``model``, and what to multiply each with so that the units are zero."""
    found = []
    for layer, side, gone in _by_side(removed):
        axis = 0 if side == "out" else 1
        for parameter in model.get_submodule(layer).parameters(recurse=False):
            if parameter.ndim > axis:
                mask = parameter.new_ones(parameter.shape[axis])
                mask[gone.to(mask.device)] = 0.0
                found.append((parameter, mask.view(-1, *[1] * (parameter.ndim - axis - 1))))
    return found


@contextmanager
def zeroed(model: nn.Module, removed: Removed) -> Iterator[None]:
    """The model with zeros in place of the units; put back after."""
    multiplied = masks(model, removed)
    before = [parameter.detach().clone() for parameter, _ in multiplied]
    with torch.no_grad():
        for parameter, mask in multiplied:
            parameter.mul_(mask)
    try:
        yield
    finally:
        with torch.no_grad():
            for (parameter, _), values in zip(multiplied, before, strict=True):
                parameter.copy_(values)


@contextmanager
def without(model: nn.Module, removed: Removed) -> Iterator[None]:
    """The model as it is once the units are removed; put back after."""
    before = [
        (layer, dict(layer.__dict__), dict(layer._parameters), dict(layer._buffers))
        for layer in (model.get_submodule(name) for name, _, _ in _by_side(removed))
    ]
    try:
        remove(model, removed)
        yield
    finally:
        for layer, arguments_of_layer, parameters, buffers in before:
            layer.__dict__.update(arguments_of_layer)
            layer._parameters.update(parameters)
            layer._buffers.update(buffers)


def is_exact(model: nn.Module, inputs: Tensor, groups: Sequence[Group]) -> bool:
    """Whether a model without every second unit computes what it does with zeros in their place.

    Raises what the model's own code raises, if it can't do without them.
    """
    removed = {group: torch.arange(0, group.units, 2) for group in groups}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        with zeroed(model, removed):
            expected = model(inputs)
        with without(model, removed):
            found = model(inputs)
    if found.shape != expected.shape:
        return False
    scale = float(expected.abs().max())
    return torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * scale)


def _by_side(removed: Removed) -> Iterator[tuple[str, Side, Tensor]]:
    """The channels of each layer and side that go, whatever groups they belong to."""
    gone: dict[tuple[str, Side], list[Tensor]] = defaultdict(list)
    for group, units in removed.items():
        for cut in group.cuts:
            gone[cut.layer, cut.side].append(cut.indices[units].flatten())
    for (layer, side), parts in gone.items():
        yield layer, side, torch.cat(parts)
