"""CUDA graphs: for which models, what torch.compile is asked for, and what accumulation needs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training import make_model

from runner.torchlib import compilation
from runner.torchlib.batches import Portion
from runner.torchlib.compilation import choose_graphs, compile_model, count_layers
from runner.torchlib.data import Dataset
from runner.torchlib.engine import Single
from runner.torchlib.objectives import CrossEntropy

SMALL: dict[str, Any] = {"ranks": 1, "is_auto": False, "operations": 1e9, "layers": 10}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "used: 100 million operations in a layer and pass take less time than launching them"),
        ({"operations": 5e10}, "not used: 5e+03 million operations in a layer and pass keep"),
        ({"operations": None}, "not used: how much the model computes is not known"),
        ({"ranks": 2}, "not used: 2 workers exchange between layers"),
        ({"is_auto": True}, "not used: per_device_batch_size auto tries many shapes"),
    ],
)
def test_they_serve_a_small_model_on_one_gpu(given: dict[str, Any], why: str) -> None:
    graphs = choose_graphs(**{**SMALL, **given})
    assert graphs.are_used == (given == {})
    assert graphs.why.startswith(why)


def test_layers_are_modules_without_others() -> None:
    inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    assert count_layers(nn.Sequential(inner, nn.Linear(4, 4))) == 3


@pytest.mark.parametrize("has_graphs", [True, False])
def test_the_whole_model_is_compiled_into_them_each_shape_for_itself(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, has_graphs: bool
) -> None:
    asked: list[dict[str, Any]] = []

    def compiled(function: Any, **settings: Any) -> Any:
        asked.append(settings)
        return function

    monkeypatch.setattr(compilation.torch, "compile", compiled)
    model = make_model(digits, "vit", dim=16, depth=3, heads=2, patch=4)
    compile_model(model, device="cpu", has_graphs=has_graphs)
    expected = [{"mode": "reduce-overhead", "dynamic": False}] if has_graphs else [{}] * 3
    assert asked == expected


class ToOnePlace(torch.autograd.Function):
    """A product whose weight's gradient is written to the same memory each time, as a graph's."""

    place = torch.empty(0)

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(inputs, weight)
        return inputs @ weight

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        inputs, weight = ctx.saved_tensors
        place = ToOnePlace.place
        torch.mm(inputs.t(), gradient, out=place)
        # Another tensor of the same memory, which PyTorch takes for its own to keep.
        mine = torch.empty(0).set_(place.untyped_storage(), 0, place.size(), place.stride())
        return gradient @ weight.t(), mine


class Graphed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 640).view(64, 10))

    def forward(self, inputs: Tensor) -> Tensor:
        product: Tensor = ToOnePlace.apply(inputs.flatten(1), self.weight)  # type: ignore[no-untyped-call]
        return product


@pytest.mark.parametrize("has_graphs", [True, False])
def test_gradients_of_a_graph_add_up(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, has_graphs: bool
) -> None:
    ToOnePlace.place = torch.empty(64, 10)
    begun: list[bool] = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: begun.append(True))
    model = Graphed()
    engine = Single(model, has_graphs=has_graphs)
    rows = digits.train_inputs[:48], digits.train_targets[:48]
    parts = zip(*(column.split(16) for column in rows), strict=True)
    portions = [Portion((inputs, targets), 16) for inputs, targets in parts]
    engine.backward(portions, CrossEntropy(), 48, 10)
    weight = model.weight.detach().clone().requires_grad_()
    loss = nn.functional.cross_entropy(rows[0].flatten(1) @ weight, rows[1])
    (expected,) = torch.autograd.grad(loss, weight)
    assert model.weight.grad is not None
    # Without, passes write over what was to be added to, which shows that this imitates a graph.
    assert torch.allclose(model.weight.grad, expected, atol=1e-6) == has_graphs
    assert len(begun) == (3 if has_graphs else 0)
