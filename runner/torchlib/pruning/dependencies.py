"""Which channels and heads of a model can be removed: found by torch-pruning, proved by trying."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from runner.data.extras import need
from runner.errors import TaskError
from runner.torchlib.models.transformer import Attention
from runner.torchlib.pruning.channels import Cut, Group, is_exact
from runner.torchlib.widths import Side, arguments

ROOTS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_SHOWN = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Prunable:
    """What can be removed, and by layer why it can't."""

    groups: list[Group] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def prunable(model: nn.Module, inputs: Tensor, *, ignore: set[str]) -> Prunable:
    """The groups of ``model`` whose units can be removed, none that a layer in ``ignore`` makes.

    ``model`` is in eval mode on the CPU; ``inputs`` are some samples. What goes together is told by
    torch-pruning, which follows the graph of one forward pass, but for the heads of the attention
    of our own models. What it says of a group is believed if the model without every second of its
    units computes what it does with zeros in their place.

    Raises TaskError where it can't follow the model, or nothing can be removed.
    """
    heads = list(_heads(model))
    spoken_for = {cut.layer for group in heads for cut in group.cuts if cut.side == "out"}
    found = Prunable()
    shared = _shared(model)
    for group, problem in [*((group, "") for group in heads), *_traced(model, inputs, spoken_for)]:
        why = problem or _obstacle(group, ignore, shared)
        if not why:
            whole = next((g for g in _readings(group) if _is_right(model, inputs, [g])), None)
            if whole is not None:
                found.groups.append(whole)
                continue
            why = "what depends on its channels can't be told"
        made_by = [name for name in group.makers if isinstance(model.get_submodule(name), ROOTS)]
        found.left_out.update({name: why for name in made_by or [group.name]})
    order = [name for name, _ in model.named_modules()]
    found.groups.sort(key=lambda group: order.index(group.name))
    for group in [] if _is_right(model, inputs, found.groups) else list(found.groups):
        # One of them is in the way of others: those before it in the model stay prunable.
        index = found.groups.index(group)
        if not _is_right(model, inputs, found.groups[: index + 1]):
            found.groups.remove(group)
            found.left_out[group.name] = "its channels can't be removed together with others"
    if not found.groups:
        raise TaskError(
            "no channels of this model can be removed: "
            + "; ".join(f"{name}: {why}" for name, why in found.left_out.items()),
            hint="method: magnitude sets single weights to zero in any model",
        )
    return found


def _heads(model: nn.Module) -> Iterator[Group]:
    """The heads of our own attention, whose query, key and value lie together in ``qkv``."""
    for name, module in model.named_modules():
        if isinstance(module, Attention):
            width = module.qkv.in_features // module.heads
            heads = module.out.in_features // width
            cuts = (
                Cut(
                    layer=f"{name}.qkv",
                    side="out",
                    indices=torch.arange(3 * heads * width).view(heads, -1),
                ),
                Cut(
                    layer=f"{name}.out",
                    side="in",
                    indices=torch.arange(heads * width).view(heads, -1),
                ),
            )
            yield Group(name=f"{name}.qkv", cuts=cuts, are_heads=True)


def _traced(model: nn.Module, inputs: Tensor, spoken_for: set[str]) -> Iterator[tuple[Group, str]]:
    """What torch-pruning says of the channels of each convolution and linear layer.

    With each comes why its channels can't be removed, or nothing.
    """
    need("torch_pruning", package="torch-pruning", extra="prune", what="structured pruning")
    import torch_pruning

    names = {module: name for name, module in model.named_modules()}
    required = [parameter.requires_grad for parameter in model.parameters()]
    model.requires_grad_(True)  # the graph is that of the gradient
    try:
        with warnings.catch_warnings(action="ignore"), torch.enable_grad():
            graph = torch_pruning.DependencyGraph()
            graph.build_dependency(model, example_inputs=inputs, verbose=False)
            found = list(graph.get_all_groups(root_module_types=ROOTS))
    except Exception as error:  # of a library that meets code of the user's
        others = [
            f"{name}, a {type(module).__name__}"
            for module, name in names.items()
            if any(True for _ in module.parameters(recurse=False)) and not arguments(module, "out")
        ]
        because = f", perhaps because of {'; '.join(others[:_SHOWN])}" if others else ""
        raise TaskError(
            f"torch-pruning can't follow what the model does{because}: "
            f"{type(error).__name__}: {error}",
            hint="method: magnitude sets single weights to zero in any model",
        ) from error
    finally:
        for parameter, is_required in zip(model.parameters(), required, strict=True):
            parameter.requires_grad_(is_required)
    seen = set(spoken_for)
    for items in found:
        group, problem = _read(items, graph, names)
        if group.name not in spoken_for:
            seen.update(group.makers)
            yield group, problem
    for module, name in names.items():
        if isinstance(module, ROOTS) and name not in seen:
            yield (
                Group(name=name, cuts=()),
                "torch-pruning does not see what becomes of its outputs",
            )


def _read(items: Any, graph: Any, names: dict[nn.Module, str]) -> tuple[Group, str]:
    """A group of torch-pruning's as one of ours, and what is in the way of removing it."""
    problem, cuts = "", {}
    units = len(items[0].idxs)
    for item in items:
        module = item.dep.target.module
        if isinstance(module, nn.Parameter):
            problem = "it shares its channels with a parameter that is in no layer"
        if module not in names or not (
            any(True for _ in module.parameters()) or arguments(module, "out")
        ):
            continue
        side: Side = "in" if graph.is_in_channel_pruning_fn(item.dep.handler) else "out"
        if not arguments(module, side):
            side = "out"  # batch norm and the like have no other
        if not arguments(module, side):
            problem = f"it shares its channels with {names[module]}, a {type(module).__name__}"
            continue
        of_unit: list[list[int]] = [[] for _ in range(units)]
        for unit, index in zip(item.root_idxs, item.idxs, strict=True):
            of_unit[unit].append(index)
        if len({len(indices) for indices in of_unit}) != 1:
            problem = f"not all of its channels lead to {names[module]}"
            continue
        cuts[names[module], side] = Cut(
            layer=names[module], side=side, indices=torch.tensor(of_unit)
        )
    return Group(name=names[items[0].dep.target.module], cuts=tuple(cuts.values())), problem


def _obstacle(group: Group, ignore: set[str], shared: set[str]) -> str:
    if any(name in ignore for name in group.makers):
        return "named in 'ignore'"
    if all(cut.side == "out" for cut in group.cuts):
        return "its outputs are the model's"
    if group.units == 1:
        return f"it has one {'head' if group.are_heads else 'channel'} only"
    both = sorted({cut.layer for cut in group.cuts} & shared)
    return f"the weights of {both[0]} are another layer's, too" if both else ""


def _readings(group: Group) -> Iterator[Group]:
    """The group, and as it is where images are laid out pixel by pixel before a linear layer."""
    yield group
    if any(cut.side == "in" and cut.indices.shape[1] > 1 for cut in group.cuts):
        yield replace(group, cuts=tuple(_by_pixel(cut) for cut in group.cuts))


def _by_pixel(cut: Cut) -> Cut:
    units, each = cut.indices.shape
    if cut.side == "out" or each == 1:
        return cut
    return replace(cut, indices=torch.arange(units * each).view(each, units).T)


def _is_right(model: nn.Module, inputs: Tensor, groups: Sequence[Group]) -> bool:
    try:
        return is_exact(model, inputs, groups)
    except Exception:  # whatever the model's own code makes of shapes that no longer fit
        return False


def _shared(model: nn.Module) -> set[str]:
    """Layers with a parameter that is another layer's, too."""
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    return {name for names in owners.values() if len(names) > 1 for name in names}
