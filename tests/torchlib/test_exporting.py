"""A model as a graph: of any number of rows, with its preprocessing, and whose lines are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from runner.data.models import ModelSpec
from runner.errors import TaskError
from runner.torchlib import artifact
from runner.torchlib.artifact import LoadedModel
from runner.torchlib.data import Dataset
from runner.torchlib.exporting import exported, with_preprocessing
from runner.torchlib.lines import line_of, lines_of_modules, lines_of_operators, module_of
from runner.torchlib.models import build

ARGUMENTS = {
    "mlp": {"hidden": [8]},
    "convnet": {"channels": [4, 8], "hidden": 8},
    "resnet": {"depth": 8, "width": 4},
    "vit": {"patch": 4, "dim": 16, "depth": 1, "heads": 2},
    "gpt": {"dim": 16, "depth": 1, "heads": 2},
}


def loaded_from(folder: Path, data: Dataset, model: nn.Module, spec: ModelSpec) -> LoadedModel:
    artifact.save(folder, model, spec=spec, dataset=data)
    described = artifact.read(folder, framework="torch")
    return LoadedModel(model=model.eval(), **described.values())


def own(folder: Path, data: Dataset, model: nn.Module) -> LoadedModel:
    return loaded_from(folder, data, model, ModelSpec(factory="own:make"))


def built_in(name: str, folder: Path, data: Dataset) -> LoadedModel:
    args = ARGUMENTS[name]
    model = build(name=name, args=args, input_shape=data.input_shape, num_classes=len(data.classes))
    return loaded_from(folder, data, model, ModelSpec(name=name, args=args))


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_model_is_a_graph_that_takes_any_number_of_rows(
    name: str, digits: Dataset, text: Dataset, tmp_path: Path
) -> None:
    data = text if name == "gpt" else digits
    loaded = built_in(name, tmp_path / "model", data)
    graph = exported(loaded).module()
    for rows in (1, 2, 5):
        inputs = data.test_inputs[:rows]
        inputs = inputs.long() if name == "gpt" else inputs
        assert torch.allclose(graph(inputs), loaded.model(inputs), atol=1e-5)


def test_rows_can_be_fixed(digits: Dataset, tmp_path: Path) -> None:
    graph = exported(built_in("mlp", tmp_path / "model", digits), batch_size=2).module()
    assert graph(digits.test_inputs[:2]).shape == (2, 10)
    with pytest.raises(Exception, match="2"):
        graph(digits.test_inputs[:3])


class ByLength(nn.Module):
    """What tracing takes for a constant: the length of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.ones(1, 64))
        self.linear = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.linear(images.flatten(1) + self.token.expand(len(images), -1))
        return out


def test_a_model_that_asks_for_the_length_of_its_batch(digits: Dataset, tmp_path: Path) -> None:
    loaded = own(tmp_path / "model", digits, ByLength())
    graph = exported(loaded).module()
    inputs = digits.test_inputs[:7]
    assert torch.allclose(graph(inputs), loaded.model(inputs), atol=1e-6)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.linear(images.flatten(1))
        if out.sum() > 0:
            out = 2 * out
        return out


def test_what_no_graph_can_hold_is_told_with_its_line(digits: Dataset, tmp_path: Path) -> None:
    loaded = own(tmp_path / "model", digits, Branching())
    with pytest.raises(TaskError) as caught:
        exported(loaded)
    assert "test_exporting.py:" in caught.value.message
    assert "in forward: if out.sum() > 0" in caught.value.message


def test_preprocessing_inside_is_that_of_the_data(digits: Dataset, tmp_path: Path) -> None:
    loaded = built_in("convnet", tmp_path / "model", digits)
    raw = torch.from_numpy(loaded.raw(digits.test_inputs[:9].numpy()))
    assert np.abs(raw.numpy() - np.rint(raw.numpy())).max() < 1e-4  # pixels are whole numbers
    graph = exported(with_preprocessing(loaded)).module()
    expected = loaded.model(digits.test_inputs[:9])
    assert torch.allclose(graph(raw), expected, atol=1e-5)


def test_text_has_none_to_put_inside(text: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="goes through no preprocessing"):
        with_preprocessing(built_in("gpt", tmp_path / "model", text))


@pytest.mark.parametrize("is_read", [False, True])
def test_nodes_know_their_modules_and_lines(is_read: bool, digits: Dataset, tmp_path: Path) -> None:
    """Run once, as most models are, or read, as those that run can't be followed in."""
    loaded = built_in("vit", tmp_path / "model", digits)
    program = torch.export.export(loaded.model, (digits.test_inputs[:3],), strict=is_read)
    modules = {
        module_of(node): line_of(node)
        for node in program.graph.nodes
        if str(node.target) in ("aten.linear.default", "aten.layer_norm.default")
    }
    assert {"blocks.0.attention.qkv", "blocks.0.up", "norm", "head"} <= modules.keys()
    assert "self.qkv(x)" in modules["blocks.0.attention.qkv"]
    assert modules["blocks.0.attention.qkv"].startswith("transformer.py:")
    assert lines_of_modules(program.graph)["blocks.0.norm1"].startswith("transformer.py:")


def test_operators_that_a_message_names_are_told_with_their_lines(
    digits: Dataset, tmp_path: Path
) -> None:
    graph = exported(built_in("vit", tmp_path / "model", digits)).graph
    found = lines_of_operators(graph, "No conversion rule for aten.gelu.default, prims.norm")
    norm, gelu = found.split("; ")
    assert gelu.startswith("aten.gelu at transformer.py:") and "functional.gelu(" in gelu
    assert norm.startswith("aten.layer_norm at transformer.py:") and norm.count(" in forward") == 2
    assert lines_of_operators(graph, "aten.sort.default, and nothing else") == ""
