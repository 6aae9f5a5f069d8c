"""How much the units of a group matter, and which of them to remove."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from runner.torchlib.data import Dataset
from runner.torchlib.layout import arrange, place
from runner.torchlib.objectives import CrossEntropy
from runner.torchlib.pruning.channels import Cut, Group

_BATCHES, _BATCH, _BYTES_AT_ONCE = 16, 64, 4096


def magnitudes(model: nn.Module, groups: Iterable[Group]) -> dict[Group, Tensor]:
    """The mean size of a unit's weights (Li et al. 2017, "Pruning filters"), for each of a group.

    It is the mean over the layers of the group (DepGraph, Fang et al. 2023, section 3.4) of the sum
    of the absolute weights there, each relative to the layer's mean: a large filter whose batch
    norm scales it down, or that nothing takes up, is small. Heads likewise.
    """
    found = {}
    for group in groups:
        parts = []
        for cut in group.cuts:
            weight = dict(model.get_submodule(cut.layer).named_parameters()).get("weight")
            if weight is not None:  # batch norm may have none
                sums = _by_channel(cut, weight.detach().abs().float())
                parts.append(sums / sums.mean().clamp_min(1e-30))
        found[group] = torch.stack(parts).mean(0).cpu()
    return found


def taylor(
    model: nn.Module, groups: Iterable[Group], data: Dataset, *, device: str
) -> dict[Group, Tensor]:
    """How much the loss would change without each unit, to first order (Molchanov et al. 2019).

    Equation 8 of "Importance estimation for neural network pruning", for a gate on each unit: the
    squared derivative of the loss by it, which is the sum of gradient times weight over what takes
    up the unit, in the mean over 16 batches of 64 training samples. The model is left as it is.
    """
    groups = list(groups)
    takers = {group: [cut for cut in group.cuts if cut.side == "in"] for group in groups}
    names = sorted({cut.layer for cuts in takers.values() for cut in cuts})
    weights = [model.get_submodule(name).get_parameter("weight") for name in names]
    totals = {group: torch.zeros(group.units) for group in groups}
    objective, layout = CrossEntropy(), place(model, device)
    was_training, required = model.training, [weight.requires_grad for weight in weights]
    model.eval()
    for weight in weights:
        weight.requires_grad_(True)
    for inputs, targets in _batches(data):
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            logits = model(arrange(inputs.to(device), layout))
            targets = targets.to(device)
            loss = objective(logits.float(), inputs, targets, ()) / targets.numel()
            gradients = torch.autograd.grad(loss, weights)
        products = {
            name: (gradient * weight.detach()).float()
            for name, gradient, weight in zip(names, gradients, weights, strict=True)
        }
        for group, cuts in takers.items():
            by_unit = torch.stack([_by_channel(cut, products[cut.layer]) for cut in cuts]).sum(0)
            totals[group] += by_unit.square().cpu()
    for weight, is_required in zip(weights, required, strict=True):
        weight.requires_grad_(is_required)
    model.train(was_training)
    return totals


def least(scores: Mapping[Group, Tensor], counts: Mapping[Group, int]) -> dict[Group, Tensor]:
    """The units with the lowest scores, of each group so many, in order."""
    return {
        group: scores[group].topk(count, largest=False).indices.sort().values
        for group, count in counts.items()
        if count
    }


def kept(units: int, sparsity: float, round_to: int) -> int:
    """How many of so many units stay, at least one, if the part ``sparsity`` of them is to go.

    It is the nearest multiple of ``round_to``, or of half of it and so on, until what goes is no
    further than an eighth of all from what is to go.
    """
    wanted = units * (1.0 - sparsity)
    step = round_to
    while step > 1 and abs(step * round(wanted / step) - wanted) > units / 8:
        step //= 2
    return min(units, max(1, step * round(wanted / step)))


def _by_channel(cut: Cut, values: Tensor) -> Tensor:
    """``values`` of the layer's weight, summed over what belongs to each unit."""
    axis = 0 if cut.side == "out" else 1
    sums = values.movedim(axis, 0).reshape(values.shape[axis], -1).sum(1)
    return sums[cut.indices.to(sums.device)].sum(1)


def _batches(data: Dataset) -> Iterable[tuple[Tensor, Tensor]]:
    """Some training samples, always the same."""
    rows = min(_BATCH, max(1, _BYTES_AT_ONCE // data.train_targets[0].numel()))
    order = torch.randperm(len(data.train_inputs), generator=torch.Generator().manual_seed(0))
    for part in torch.split(order[: rows * _BATCHES], rows):
        yield data.train_inputs[part], data.train_targets[part]
