"""Single weights set to zero: the smallest of all, of each layer, or two of every four."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from runner.errors import TaskError

Scope: TypeAlias = Literal["global", "layer"]

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_SHOWN = 8


def weights(
    model: nn.Module, *, ignore: set[str]
) -> tuple[dict[str, nn.Parameter], dict[str, str]]:
    """The weights that are pruned, by layer: those of linear layers and convolutions.

    And by layer, why the other weights are left out; biases and norms always are.
    """
    owners: dict[int, list[str]] = {}
    for name, layer in model.named_modules():
        for parameter in layer.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    found: dict[str, nn.Parameter] = {}
    left_out: dict[str, str] = {}
    for name, layer in model.named_modules():
        for own, parameter in layer.named_parameters(recurse=False):
            if parameter.ndim < 2:
                continue
            others = [each for each in owners[id(parameter)] if each != name]
            if not isinstance(layer, _LAYERS) or own != "weight":
                left_out[f"{name}.{own}"] = f"of a {type(layer).__name__}"
            elif name in ignore:
                left_out[name] = "named in 'ignore'"
            elif others:
                left_out[name] = f"its weights are those of {others[0]}, too"
            else:
                found[name] = parameter
    if not found:
        raise TaskError("no linear layer or convolution is left whose weights could be pruned")
    return found, left_out


def smallest(
    layers: Mapping[str, nn.Parameter], *, sparsity: float, scope: Scope
) -> list[tuple[nn.Parameter, Tensor]]:
    """For each weight what to multiply it with: 0 for the part ``sparsity`` with the least size.

    Of each layer, or (Han et al. 2015, "Learning both weights and connections") of all together.
    """
    sizes = [weight.detach().abs().float() for weight in layers.values()]
    if scope == "layer":
        kept = tuple(_largest(size.flatten(), sparsity) for size in sizes)
    else:
        whole = _largest(torch.cat([size.flatten() for size in sizes]), sparsity)
        kept = torch.split(whole, [size.numel() for size in sizes])
    return [
        (weight, mask.view_as(weight).to(weight.dtype))
        for weight, mask in zip(layers.values(), kept, strict=True)
    ]


def _largest(sizes: Tensor, sparsity: float) -> Tensor:
    is_kept = torch.ones_like(sizes, dtype=torch.bool)
    is_kept[sizes.topk(round(sparsity * len(sizes)), largest=False).indices] = False
    return is_kept


def two_of_four(layers: Mapping[str, nn.Parameter]) -> list[tuple[nn.Parameter, Tensor]]:
    """For each weight what to multiply it with: 0 for the two smallest of every four inputs.

    Mishra et al. 2021, "Accelerating sparse deep neural networks", section 3: four neighbours along
    the input channels, those that one sum runs over. Raises TaskError as ``check_fours`` does.
    """
    check_fours(layers)
    found = []
    for weight in layers.values():
        inputs_last = weight.detach().abs().movedim(1, -1)
        fours = inputs_last.reshape(*inputs_last.shape[:-1], -1, 4)
        mask = torch.zeros_like(fours).scatter_(-1, fours.topk(2, dim=-1).indices, 1.0)
        found.append((weight, mask.flatten(-2).movedim(-1, 1)))
    return found


def check_fours(layers: Mapping[str, nn.Parameter]) -> None:
    """Raises TaskError, naming them, if there are layers whose inputs don't divide by four."""
    wrong = {name: weight.shape[1] for name, weight in layers.items() if weight.shape[1] % 4}
    if wrong:
        told = [f"{name} has {inputs}" for name, inputs in wrong.items()]
        more = f" and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
        raise TaskError(
            "2:4 leaves two of every four inputs, and these layers' don't divide by four: "
            + ", ".join(told[:_SHOWN])
            + more,
            hint=f"leave them as they are with ignore: [{', '.join(map(repr, wrong))}]",
        )
