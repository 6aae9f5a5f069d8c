"""What an inference takes, as counted on shapes: against sums done by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from runner.data.described import read_any, write
from runner.data.models import ModelSpec
from runner.errors import TaskError, Unmeasured
from runner.torchlib.artifact import save
from runner.torchlib.costs import count, of_folder
from runner.torchlib.data import Dataset
from runner.torchlib.models import build
from runner.torchlib.widths import resize


def test_a_chain_of_layers() -> None:
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
    costs = count(model, (8,), "float32")
    assert costs.operations == 2 * (8 * 32 + 32 * 4)
    assert costs.parameters == 8 * 32 + 32 + 32 * 4 + 4
    # The input stays while the model runs, and a layer's input until it has made its output.
    assert costs.peak_values == 8 + 32 + 32
    assert costs.moved_values == (8 + 32) + (32 + 4)
    assert costs.end_values == 8 + 4
    assert costs.operators["addmm"] == 2
    assert costs.operators["relu"] == 1


def test_a_convolution() -> None:
    model = nn.Conv2d(3, 16, 3, padding=1, stride=2)
    costs = count(model, (3, 10, 12), "float32")
    assert costs.operations == 2 * (16 * 5 * 6) * (3 * 3 * 3)
    assert costs.moved_values == 3 * 10 * 12 + 16 * 5 * 6
    assert costs.peak_values == costs.moved_values


class Residual(nn.Module):
    """x + f(x), where x has to be kept while f is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(10, 100, bias=False), nn.Linear(100, 10, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        kept = inputs * 2
        return kept + self.narrow(self.wide(kept))


def test_what_is_kept_beside_counts() -> None:
    # The input and what is kept, and of the wide layer's output and the narrow one's both.
    assert count(Residual(), (10,), "float32").peak_values == 10 + 10 + 100 + 10


def test_weights_that_are_shared_count_once_and_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Dropout(0.5), nn.Linear(4, 4, bias=False))
    model[2].weight = model[0].weight
    model.train()
    before = model[0].weight.clone()
    costs = count(model, (4,), "float32")
    assert (costs.parameters, costs.operations) == (16, 2 * 2 * 16)
    assert model.training and torch.equal(model[0].weight, before)
    assert "bernoulli_" not in costs.operators  # in eval mode


@pytest.mark.parametrize("name", ["mlp", "convnet", "resnet", "vit"])
def test_products_are_those_that_pytorch_counts(name: str) -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    args = {"patch": 4} if name == "vit" else {}
    model = build(name=name, args=args, input_shape=(1, 8, 8), num_classes=10).eval()
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model(torch.zeros(1, 1, 8, 8))
    assert count(model, (1, 8, 8), "float32").operations == counter.get_total_flops()


class Curious(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs if inputs.sum() > 0 else -inputs)


def test_a_model_that_asks_for_values_is_told() -> None:
    with pytest.raises(Unmeasured, match="the costs of Curious can't be counted on shapes alone"):
        count(Curious(4, 4), (4,), "float32")


def as_keras(source: Path, folder: Path, **changes: Any) -> Path:
    """What model.json says of the same model in Keras; its weights are not looked at."""
    described = read_any(source)[1]
    last = (*described.input_shape[1:], described.input_shape[0])
    described = replace(described, input_shape=last, **changes)
    write(folder, described, framework="keras", put=lambda unfinished: None)
    return folder


def test_of_keras_it_is_what_the_twin_in_pytorch_takes(tmp_path: Path, digits: Dataset) -> None:
    spec = ModelSpec(name="convnet", factory=None, args={"channels": [4, 6], "hidden": 0})
    model = build(name="convnet", args=spec.args, input_shape=digits.input_shape, num_classes=10)
    save(tmp_path / "torch", model, spec=spec, dataset=digits)
    assert of_folder(as_keras(tmp_path / "torch", tmp_path / "keras")) == of_folder(
        tmp_path / "torch"
    )
    factory = ModelSpec(name=None, factory="mine:make", args={})
    with pytest.raises(TaskError, match="a Keras model by a factory"):
        of_folder(as_keras(tmp_path / "torch", tmp_path / "own", spec=factory))


def test_a_pruned_model_is_as_narrow_as_it_is(tmp_path: Path, digits: Dataset) -> None:
    spec = ModelSpec(name="mlp", factory=None, args={"hidden": [32]})
    model = build(name="mlp", args=spec.args, input_shape=digits.input_shape, num_classes=10)
    layers = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    widths = {layers[0]: {"out_features": 12}, layers[1]: {"in_features": 12}}
    resize(model, widths)
    save(tmp_path / "model", model, spec=spec, dataset=digits, pruned=widths)
    costs = of_folder(tmp_path / "model")
    assert costs.parameters == 64 * 12 + 12 + 12 * 10 + 10
    assert costs.operations == 2 * (64 * 12 + 12 * 10)


def test_of_a_folder_it_is_what_lies_there(tmp_path: Path, digits: Dataset) -> None:
    spec = ModelSpec(name="mlp", factory=None, args={"hidden": [8]})
    model = build(name="mlp", args={"hidden": [8]}, input_shape=digits.input_shape, num_classes=10)
    save(tmp_path / "model", model, spec=spec, dataset=digits)
    costs = of_folder(tmp_path / "model")
    assert costs.parameters == 64 * 8 + 8 + 8 * 10 + 10
    done = subprocess.run(
        [sys.executable, "-m", "runner.torchlib.costs", tmp_path / "model", tmp_path / "none"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    told, wrong = map(json.loads, done.stdout.splitlines())
    assert told["operations"] == costs.operations
    assert "there is no" in wrong["error"] and wrong["hint"]
