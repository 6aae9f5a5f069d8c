"""How wide the layers of a model are, and layers made narrower: what pruning leaves of a model.

A width goes by the name of the layer's own argument, such as ``out_features``, so that who builds
the model from its arguments can make the same layers as wide as a ``model.json`` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from runner.errors import TaskError

Widths: TypeAlias = Mapping[str, Mapping[str, int]]
"""Widths by the layer's name and the name of its argument."""

Side: TypeAlias = Literal["out", "in"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def arguments(layer: nn.Module, side: Side) -> tuple[str, ...]:
    """The arguments that say how wide ``layer`` is on a side; none if it can't be narrowed there.

    What takes and gives the same channels, as batch norm and depthwise convolutions do, counts them
    on its side ``out``.
    """
    kind = type(layer)  # a subclass may do anything with its weights
    if kind is nn.Linear:
        return ("out_features",) if side == "out" else ("in_features",)
    if isinstance(layer, _NORMS) and kind in _NORMS:
        return ("num_features",) if side == "out" else ()
    if not isinstance(layer, _CONVOLUTIONS) or kind not in _CONVOLUTIONS:
        return ()
    if layer.groups == 1:
        return ("out_channels",) if side == "out" else ("in_channels",)
    if layer.groups == layer.in_channels == layer.out_channels:
        return ("out_channels", "in_channels", "groups") if side == "out" else ()
    return ()


def widths(model: nn.Module) -> dict[str, dict[str, int]]:
    """The widths of all layers that can be narrowed."""
    found = {}
    for name, layer in model.named_modules():
        names = {*arguments(layer, "out"), *arguments(layer, "in")}
        if names:
            found[name] = {each: int(getattr(layer, each)) for each in sorted(names)}
    return found


def changed(before: Widths, after: Widths) -> dict[str, dict[str, int]]:
    """Of ``after``, the widths that differ from those ``before``."""
    found = {
        name: {each: width for each, width in sizes.items() if before[name][each] != width}
        for name, sizes in after.items()
    }
    return {name: sizes for name, sizes in found.items() if sizes}


def narrow(layer: nn.Module, side: Side, kept: Tensor) -> None:
    """Leaves of ``layer`` the channels on a side whose indices are ``kept``, in that order."""
    axis = 0 if side == "out" else 1
    for name, tensor in _tensors(layer):
        if tensor.ndim > axis:
            _replace(layer, name, tensor.detach().index_select(axis, kept.to(tensor.device)))
    for argument in arguments(layer, side):
        setattr(layer, argument, len(kept))


def resize(model: nn.Module, sizes: Widths) -> None:
    """Gives the layers of a model that was just built these widths; their weights are yet to come.

    Raises TaskError, naming the layer, where the model has none of that name, or none that has such
    a width.
    """
    for name, widths_of_layer in sizes.items():
        try:
            layer = model.get_submodule(name)
        except AttributeError:
            raise TaskError(
                f"the model has no layer {name}, of which a width is given",
                hint="the factory's code has changed since; prune the model again",
            ) from None
        for side in ("out", "in"):
            names = arguments(layer, side)
            given = {widths_of_layer[each] for each in names if each in widths_of_layer}
            if len(given) == 1 and 0 < min(given) <= getattr(layer, names[0]):
                narrow(layer, side, torch.arange(given.pop()))
        wrong = {
            each: width
            for each, width in widths_of_layer.items()
            if getattr(layer, each, None) != width
        }
        if wrong:
            raise TaskError(
                f"the layer {name} is a {type(layer).__name__}, which can't be given "
                + ", ".join(f"{each} {width}" for each, width in wrong.items()),
                hint="the factory's code has changed since; prune the model again",
            )


def _tensors(layer: nn.Module) -> list[tuple[str, Tensor]]:
    tensors = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
    return [(name, tensor) for name, tensor in tensors if tensor.ndim]


def _replace(layer: nn.Module, name: str, tensor: Tensor) -> None:
    old = getattr(layer, name)
    if isinstance(old, nn.Parameter):
        tensor = nn.Parameter(tensor, requires_grad=old.requires_grad)
    setattr(layer, name, tensor)
