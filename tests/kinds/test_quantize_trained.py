"""Scheme int8-qat: a model that is trained as it will be rounded, and partly in float."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from runner.data import load
from runner.data.described import read_any
from runner.data.models import ModelSpec
from runner.kinds.allowance import Allowance
from runner.torchlib.artifact import save
from runner.torchlib.data import from_arrays
from runner.torchlib.models import build
from tests.kinds.quantizing import DIGITS, Ran, kept, knowing

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return kept(knowing(), tmp_path / "float")


def test_a_model_trained_for_its_quantization(folder: str, tmp_path: Path) -> None:
    ran = Ran(
        tmp_path,
        model=folder,
        data=DIGITS,
        scheme="int8-qat",
        max_epochs=1,
        optimizer={"learning_rate": 1e-4},
    )
    _, described = read_any(ran.made["model"])
    assert described.form is not None
    assert described.form.scheme == "int8-qat"
    assert ran.metrics["compression/size_ratio"] > 2.5
    assert ran.metrics["compression/accuracy_drop"] <= 0.01
    assert "train/loss" in ran.metrics


def test_what_was_trained_goes_back_to_float_layer_by_layer(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    differences: list[float] = []

    def holds(_: Allowance, given: Any, baseline: Any) -> bool:
        differences.append(float(np.square(given - baseline.outputs).mean()))
        return differences[-1] < 0.8 * differences[0]

    monkeypatch.setattr(Allowance, "holds", holds)
    ran = Ran(
        tmp_path,
        model=folder,
        data=DIGITS,
        scheme="int8-qat",
        max_steps=1,
        optimizer={"learning_rate": 1e-9},
    )
    count, _, layers = ran.facts["stayed in float"].partition(": ")
    assert 1 <= int(count) < 3 and set(layers.split(", ")) < {"1", "3", "5"}
    form = read_any(ran.made["model"])[1].form
    assert form is not None and form.scheme == "int8-qat"
    kept = ran.made["model"] / form.file
    inputs = [each.op_type for each in onnx.load(kept).graph.node].count("QuantizeLinear")
    assert inputs < 3, "of what a layer in float takes nothing is rounded"


def test_a_convolution_before_batch_norm_stays_in_float(tmp_path: Path) -> None:
    """Of which torchao by itself says nothing, and then fails."""
    data = from_arrays(load(name="digits"))
    args = {"channels": [8, 8], "hidden": 0}
    made = build(name="convnet", args=args, input_shape=data.input_shape, num_classes=10)
    folder = tmp_path / "float"
    save(folder, made, spec=ModelSpec(name="convnet", args=args), dataset=data)
    ran = Ran(
        tmp_path,
        model=str(folder),
        data=DIGITS,
        scheme="int8-qat",
        max_steps=1,
        ignore=["0"],
        max_accuracy_drop=1.0,
    )
    described = read_any(ran.made["model"])[1]
    assert described.form is not None
    graph = onnx.load(ran.made["model"] / described.form.file).graph
    makers = {name: node.op_type for node in graph.node for name in node.output}
    weights = [makers.get(node.input[1]) for node in graph.node if node.op_type == "Conv"]
    assert weights == [None, "DequantizeLinear"]
