"""Channels and heads: which of them go together, what can't go, and what is left without them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from training import make_model, train

from runner.errors import TaskError
from runner.torchlib.data import Dataset
from runner.torchlib.layout import arrange
from runner.torchlib.models.transformer import Attention
from runner.torchlib.pruning.channels import Group, is_exact, masks, remove
from runner.torchlib.pruning.dependencies import Prunable, prunable
from runner.torchlib.pruning.importance import kept, magnitudes, taylor
from runner.torchlib.pruning.methods import ignored, left_out_told, removing

pytest.importorskip("torch_pruning", reason="structured pruning needs torch-pruning")

ARGS: dict[str, Any] = {
    "mlp": {"hidden": [16, 12]},
    "convnet": {"channels": [8, 12], "hidden": 16},
    "resnet": {"depth": 8, "width": 8},
    "vit": {"dim": 16, "depth": 2, "heads": 4},
    "gpt": {"dim": 16, "depth": 2, "heads": 4},
}
GOES = {
    "mlp": ["1", "3"],
    "convnet": ["0", "3", "8"],
    "resnet": ["conv", "blocks.0.conv1", "blocks.1.conv1", "blocks.2.conv1"],
    "vit": [f"blocks.{n}.{layer}" for n in (0, 1) for layer in ("attention.qkv", "up")],
    "gpt": [f"blocks.{n}.{layer}" for n in (0, 1) for layer in ("attention.qkv", "up")],
}


def trained(data: Dataset, name: str) -> nn.Module:
    """After a few steps, so that batch norms have statistics and no unit is like another."""
    model = make_model(data, name, **ARGS[name])
    train(model, data, max_steps=3)
    return model.eval()


def groups_of(model: nn.Module, data: Dataset, **settings: Any) -> Prunable:
    inputs = arrange(data.train_inputs[:4], torch.contiguous_format)
    return prunable(model, inputs, ignore=ignored(model, settings.get("ignore", [])))


@pytest.mark.parametrize("name", ARGS)
def test_without_units_a_model_computes_what_it_does_with_zeros(
    name: str, digits: Dataset, text: Dataset
) -> None:
    data = text if name == "gpt" else digits
    model = trained(data, name)
    inputs = arrange(data.test_inputs[:8], torch.contiguous_format)
    before = model(inputs)
    found = groups_of(model, data)
    assert torch.equal(model(inputs), before), "what was tried is taken back"
    assert [group.name for group in found.groups] == GOES[name]
    random = torch.Generator().manual_seed(1)
    removed = {
        group: torch.randperm(group.units, generator=random)[: group.units // 2]
        for group in found.groups
    }
    zeros, fewer = deepcopy(model).double(), deepcopy(model).double()
    with torch.no_grad():
        for parameter, mask in masks(zeros, removed):
            parameter.mul_(mask)
        remove(fewer, removed)
        wide = inputs if name == "gpt" else inputs.double()
        assert torch.allclose(fewer(wide), zeros(wide), atol=1e-9, rtol=1e-9)
        assert not torch.allclose(fewer(wide), before.double(), atol=1e-2)
    left = sum(parameter.numel() for parameter in fewer.parameters())
    assert left < 0.8 * sum(parameter.numel() for parameter in model.parameters())


def test_what_is_left_out_is_named_with_why(digits: Dataset, text: Dataset) -> None:
    vit = groups_of(trained(digits, "vit"), digits).left_out
    assert vit["head"] == "its outputs are the model's"
    assert "parameter that is in no layer" in vit["embed.patches"]
    assert set(vit) >= {f"blocks.{n}.{e}" for n in (0, 1) for e in ("attention.out", "down")}
    gpt = groups_of(trained(text, "gpt"), text).left_out
    assert gpt["blocks.0.down"].endswith("a LayerNorm")
    mlp = trained(digits, "mlp")
    assert groups_of(mlp, digits, ignore=["1"]).left_out == {
        "1": "named in 'ignore'",
        "5": "its outputs are the model's",
    }
    told = left_out_told({"a": "why", "b": "other", "c": "why"})
    assert told == "a, c (why); b (other)"


class Mixed(nn.Module):
    """Layers that channels can and can't be taken from; ``body`` is what it does."""

    def __init__(self, body: str) -> None:
        super().__init__()
        self.body = body
        self.first = nn.Linear(64, 16)
        self.second = nn.Linear(16, 16)
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.recurrent = nn.LSTM(16, 16, batch_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.first(images.flatten(1))
        x = getattr(self, f"_{self.body}")(x)
        out: Tensor = self.head(x)
        return out

    def _norm(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(x))

    def _attention(self, x: Tensor) -> Tensor:
        out: Tensor = self.attention(x[:, None], x[:, None], x[:, None])[0][:, 0]
        return out

    def _recurrent(self, x: Tensor) -> Tensor:
        out: Tensor = self.recurrent(x[:, None])[0][:, 0]
        return out

    def _centred(self, x: Tensor) -> Tensor:
        return x - x.mean(1, keepdim=True)

    def _hidden(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return functional.relu(self.second(x))

    def _either(self, x: Tensor) -> Tensor:
        y = self.second(functional.relu(x))
        if x.shape[1] < 16 and y.shape[1] < 16:
            raise ValueError("one of them has to be whole")
        return functional.relu(y)

    def _in_place(self, x: Tensor) -> Tensor:
        self.first.weight.mul_(1.0)
        return x

    def _fixed(self, x: Tensor) -> Tensor:
        return x.view(-1, 4, 4).mul(2.0).flatten(1)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("norm", "first: it shares its channels with norm, a LayerNorm"),
        ("attention", "first: it shares its channels with attention, a MultiheadAttention"),
        ("recurrent", "first: it shares its channels with recurrent, a LSTM"),
        ("centred", "first: what depends on its channels can't be told"),
        ("fixed", "first: what depends on its channels can't be told"),
        ("hidden", "second: torch-pruning does not see what becomes of its outputs"),
    ],
)
def test_what_can_not_be_followed_is_left_as_it_is(digits: Dataset, body: str, why: str) -> None:
    torch.manual_seed(0)
    model = Mixed(body).eval()
    with pytest.raises(TaskError, match="no channels of this model can be removed") as caught:
        groups_of(model, digits, ignore=["first"] if body == "hidden" else [])
    assert why in caught.value.message
    assert "method: magnitude" in caught.value.hint


def test_layers_that_can_not_both_be_narrower(digits: Dataset) -> None:
    found = groups_of(Mixed("either").eval(), digits)
    assert [group.name for group in found.groups] == ["first"]
    assert found.left_out["second"] == "its channels can't be removed together with others"


def test_a_model_whose_graph_can_not_be_followed(digits: Dataset) -> None:
    with pytest.raises(TaskError, match=r"torch-pruning can.t follow .* because of norm, a LayerN"):
        groups_of(Mixed("in_place").eval(), digits)


def test_frozen_layers_are_pruned_like_others_and_stay_frozen(digits: Dataset) -> None:
    model = trained(digits, "mlp").requires_grad_(False)
    method = removing(model, digits, sparsity=0.5, round_to=4, importance="taylor")
    method.cut(model)
    assert [model[n].out_features for n in (1, 3)] == [8, 6]
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_mistaken_group_is_not_exact(digits: Dataset) -> None:
    model = trained(digits, "convnet")
    groups = groups_of(model, digits).groups
    last = next(group for group in groups if group.name == "3")
    wrong = [
        cut if cut.layer != "8" else type(cut)(
            layer="8", side="in", indices=torch.arange(cut.indices.numel()).view(12, -1)
        )
        for cut in last.cuts
    ]  # fmt: skip
    assert is_exact(model, digits.test_inputs[:4], [last])
    assert not is_exact(model, digits.test_inputs[:4], [Group(name="3", cuts=tuple(wrong))])


def test_magnitudes_are_those_of_weights_counted_by_hand() -> None:
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.BatchNorm1d(3), nn.Linear(3, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -1.0], [2.0, 2.0], [0.0, 3.0]]))
        model[1].weight.copy_(torch.tensor([1.0, 1.0, 4.0]))
        model[2].weight.copy_(torch.tensor([[5.0, -1.0, 0.0]]))
    [group] = prunable(model.eval(), torch.randn(4, 2), ignore=set()).groups
    found = magnitudes(model, [group])[group]
    expected = (
        torch.tensor([2.0, 4.0, 3.0]) / 3 + torch.tensor([1.0, 1.0, 4.0]) / 2
        + torch.tensor([5.0, 1.0, 0.0]) / 2
    ) / 3  # fmt: skip
    assert torch.allclose(found, expected)


class Gated(nn.Module):
    """``model`` with a factor on what each unit of a layer gives."""

    def __init__(self, model: nn.Sequential, at: int, units: int) -> None:
        super().__init__()
        self.model, self.at = model, at
        self.gates = torch.ones(units, requires_grad=True)

    def forward(self, x: Tensor) -> Tensor:
        for index, layer in enumerate(self.model):
            x = layer(x)
            if index == self.at:
                x = x * self.gates.view(1, -1, *[1] * (x.ndim - 2))
        return x


def test_taylor_is_the_squared_derivative_by_a_gate_on_each_unit(digits: Dataset) -> None:
    model = trained(digits, "convnet")
    groups = {group.name: group for group in groups_of(model, digits).groups}
    scores = taylor(model, groups.values(), digits, device="cpu")
    order = torch.randperm(len(digits.train_inputs), generator=torch.Generator().manual_seed(0))
    for name, after in (("0", 2), ("8", 9)):
        expected = torch.zeros(groups[name].units)
        for rows in order[: 16 * 64].split(64):
            gated = Gated(model, after, groups[name].units)  # type: ignore[arg-type]
            logits = gated(digits.train_inputs[rows])
            loss = functional.cross_entropy(logits, digits.train_targets[rows])
            expected += torch.autograd.grad(loss, gated.gates)[0].square()
        assert torch.allclose(scores[groups[name]], expected, rtol=1e-3, atol=1e-9)


def test_the_least_important_go(digits: Dataset) -> None:
    model = trained(digits, "mlp")
    with torch.no_grad():
        model[1].weight[[0, 3, 7, 8, 9, 10, 11, 12]] *= 1e-3  # type: ignore[index]
    before = model[1].weight.detach().clone()
    removing(model, digits, sparsity=0.5, round_to=8, importance="magnitude").cut(model)
    assert torch.equal(model[1].weight, before[[1, 2, 4, 5, 6, 13, 14, 15]])


def test_heads_go_whole(digits: Dataset) -> None:
    model = trained(digits, "vit")
    removing(model, digits, sparsity=0.75, round_to=16, importance="magnitude").cut(model)
    for module in model.modules():
        if isinstance(module, Attention):
            assert (module.qkv.out_features, module.out.in_features) == (12, 4), "one head of four"
    assert model(digits.test_inputs[:3]).shape == (3, 10)
    again = groups_of(model, digits)
    assert {group.units for group in again.groups if group.are_heads} == set()
    assert "it has one head only" in again.left_out.values()


@pytest.mark.parametrize(
    ("units", "sparsity", "round_to", "left"),
    [
        (32, 0.5, 16, 16),
        (64, 0.3, 16, 48),
        (32, 0.3, 16, 24),
        (16, 0.5, 16, 8),
        (10, 0.5, 16, 4),
        (4, 0.9, 16, 1),
        (89, 0.3, 1, 62),
        (512, 0.75, 16, 128),
        (8, 0.01, 16, 8),
    ],
)
def test_widths_are_rounded_to_what_kernels_like(
    units: int, sparsity: float, round_to: int, left: int
) -> None:
    assert kept(units, sparsity, round_to) == left


def test_nothing_to_remove_and_layers_that_are_not_there(digits: Dataset) -> None:
    model = trained(digits, "mlp")
    with pytest.raises(TaskError, match=r"sparsity 0.01 rounded .* removes nothing of 1 with 16"):
        removing(model, digits, sparsity=0.01, round_to=16, importance="magnitude")
    with pytest.raises(TaskError, match="'ignore' names block, and the model has no such") as e:
        ignored(model, ["1", "block"])
    assert e.value.hint == "its layers are 0, 1, 2, 3, 4, 5"
    vit = trained(digits, "vit")
    assert ignored(vit, ["blocks.1"]) >= {"blocks.1.up", "blocks.1.attention.qkv"}
    assert ignored(vit, ["*.up"]) == {"blocks.0.up", "blocks.1.up"}
