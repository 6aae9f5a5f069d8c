"""Layers fused in a graph compute what they did, are named, and what can't be fused is left."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from runner.data.fusion import Fusion, told
from runner.torchlib.fusing import fuse_graph
from runner.torchlib.fusing.machine_code import fusions_in
from runner.torchlib.models import build
from runner.torchlib.to_aotinductor import write_aotinductor


def unsettle(model: nn.Module) -> nn.Module:
    """Gives norms statistics, scales and shifts as they have after a training."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.3, 3.0)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return model.eval()


def graph_of(model: nn.Module, inputs: Tensor) -> ExportedProgram:
    with torch.no_grad():
        return torch.export.export(model, (inputs,), dynamic_shapes=({0: Dim("rows", min=1)},))


def operators(program: ExportedProgram) -> list[str]:
    return [str(n.target).split(".")[1] for n in program.graph.nodes if n.op == "call_function"]


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], list[tuple[str, ...]]]] = {
    "convolution": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        (3, 6, 6),
        [("0", "1")],
    ),
    "with a bias": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)),
        (3, 6, 6),
        [("0", "1")],
    ),
    "grouped": (
        lambda: nn.Sequential(nn.Conv2d(4, 8, 3, groups=4, bias=False), nn.BatchNorm2d(8)),
        (4, 6, 6),
        [("0", "1")],
    ),
    "linear": (
        lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)),
        (5,),
        [("0", "1")],
    ),
    "without scale and shift, after a bias": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)),
        (3, 6, 6),
        [("0", "1")],
    ),
    "nowhere to keep a bias": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False)),
        (3, 6, 6),
        [],
    ),
    "no layer before": (lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)), (3, 6, 6), []),
    "a linear layer of positions": (
        lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(3)),
        (3, 5),
        [],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_batch_norms_are_folded_where_they_can_be(case: str) -> None:
    make, shape, expected = CASES[case]
    torch.manual_seed(0)
    model = unsettle(make())
    before = copy.deepcopy(model.state_dict())
    inputs = torch.randn(5, *shape)
    program = graph_of(model, inputs)
    fusions = fuse_graph(program)
    assert [each.modules for each in fusions] == expected
    assert ("batch_norm" in operators(program)) is not bool(expected)
    assert torch.allclose(program.module()(inputs), model(inputs), atol=1e-4)
    # The graph shares its weights with the model, which is left alone.
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Shared(nn.Module):
    """One convolution, used twice, of which one output is normed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(self.conv(x)))
        return out


class Branched(nn.Module):
    """An output that goes to a norm and past it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        out: Tensor = x + self.norm(x)
        return out


@pytest.mark.parametrize("make", [Shared, Branched])
def test_a_layer_that_others_need_is_left(make: Callable[[], nn.Module]) -> None:
    model, inputs = unsettle(make()), torch.randn(4, 3, 5, 5)
    program = graph_of(model, inputs)
    assert fuse_graph(program) == []
    assert torch.allclose(program.module()(inputs), model(inputs), atol=1e-5)


class WrittenOut(nn.Module):
    """Attention as textbooks have it, of sequences (rows, positions, 8)."""

    def __init__(
        self, *, has_mask: bool = False, divides: bool = True, gives: bool = False
    ) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))
        self.drop = nn.Dropout(0.1)
        self.has_mask, self.divides, self.gives = has_mask, divides, gives
        self.register_buffer("mask", torch.full((6, 6), -torch.inf).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        rows, positions, _ = x.shape
        q, k, v = (
            layer(x).view(rows, positions, 2, 4).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = q @ k.transpose(-2, -1)
        scores = scores / 2.0 if self.divides else scores * 0.7
        if self.has_mask:
            scores = scores + self.mask
        weights = scores.softmax(dim=-1)
        out = (self.drop(weights) @ v).transpose(1, 2).reshape(rows, positions, 8)
        return out + weights.sum() if self.gives else out


@pytest.mark.parametrize("settings", [{}, {"has_mask": True}, {"divides": False}])
def test_attention_that_is_written_out_becomes_one_operator(settings: dict[str, bool]) -> None:
    torch.manual_seed(0)
    model, inputs = nn.Sequential(WrittenOut(**settings)).eval(), torch.randn(3, 6, 8)
    program = graph_of(model, inputs)
    (fusion,) = fuse_graph(program)
    assert fusion.modules == ("0",) and fusion.name.endswith("as attention")
    names = operators(program)
    assert "scaled_dot_product_attention" in names and "softmax" not in names
    assert torch.allclose(program.module()(inputs), model(inputs), atol=1e-5)
    assert torch.allclose(program.module()(inputs[:1]), model(inputs[:1]), atol=1e-5)


def test_attention_whose_weights_are_used_elsewhere_is_left() -> None:
    model, inputs = WrittenOut(gives=True).eval(), torch.randn(3, 6, 8)
    program = graph_of(model, inputs)
    assert fuse_graph(program) == []
    assert torch.allclose(program.module()(inputs), model(inputs), atol=1e-5)


def test_what_was_fused_is_told_by_sort_and_place() -> None:
    pairs = [
        Fusion(operators=("conv", "relu"), modules=(f"{n}", f"{n + 1}")) for n in range(0, 12, 2)
    ]
    text = told([*pairs, Fusion(operators=("add", "norm"), modules=())])
    assert text == "6 of conv + relu (0 + 1, 2 + 3, 4 + 5, 6 + 7 and 2 more); 1 of add + norm"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")
def test_what_inductor_fused_is_read_out_of_its_package(tmp_path: Path) -> None:
    torch.manual_seed(0)
    args = {"channels": [4, 8], "hidden": 8, "pool_every": 2}
    model = unsettle(build(name="convnet", args=args, input_shape=(1, 8, 8), num_classes=10))
    inputs = torch.randn(3, 1, 8, 8)
    program = graph_of(model, inputs)
    fuse_graph(program)
    write_aotinductor(program, tmp_path / "model.pt2", what="convnet")
    found = {(each.name, each.modules) for each in fusions_in(tmp_path / "model.pt2", program)}
    assert {
        ("convolution + relu", ("0", "2")),
        ("convolution + relu", ("3", "5")),
        ("linear + relu", ("8", "9")),
    } <= found
