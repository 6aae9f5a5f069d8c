"""What a file holds beside what its platform takes, read from files that exporters made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from runner.data.calibration import full_batches
from runner.data.models import ModelSpec
from runner.data.origin import Origin
from runner.edge.held import check, read
from runner.edge.platforms import Platform, platforms
from runner.errors import TaskError
from runner.torchlib.artifact import LoadedModel
from runner.torchlib.exporting import exported
from runner.torchlib.to_onnx import write_program
from runner.torchlib.to_openvino import write_openvino


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of a convolution and a linear layer in both formats."""
    loaded = LoadedModel(
        model=nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 4)).eval(),
        spec=ModelSpec(factory="mine:net", args={}),
        task="classification",
        input_shape=(1, 8, 8),
        input_dtype="float32",
        classes=("a", "b", "c", "d"),
        preprocessing={},
        trained_on=Origin(samples="", train="", test="", train_samples=0, test_samples=0),
    )
    torch.manual_seed(0)
    folder, program = tmp_path_factory.mktemp("held"), exported(loaded, batch_size=2)
    write_program(program, folder / "model.onnx", what="it")
    write_openvino(program, folder / "model.xml", what="it")
    return {"onnx": folder / "model.onnx", "openvino": folder / "model.xml"}


def platform(**more: Any) -> Platform:
    told = platforms()["x86-cpu"].model_dump(exclude_unset=True)
    return Platform.model_validate({**told, **more})


def test_operators_have_the_versions_that_their_formats_give_them(files: dict[str, Path]) -> None:
    found = {each.name: each.version for each in read(files["onnx"], "onnx").operators}
    # By ONNX's Changelog.md: Conv is of opset 11 up to 21, Gemm of 13, Relu of 14.
    assert (found["Conv"], found["Gemm"], found["Relu"]) == (11, 13, 14)
    found = {each.name: each.version for each in read(files["openvino"], "openvino").operators}
    assert (found["Convolution"], found["MatMul"], found["ReLU"]) == (1, 1, 1)
    assert not {"Parameter", "Const", "Result"} & set(found)


@pytest.mark.parametrize(
    ("format", "more", "message"),
    [
        ("onnx", {"formats": ["onnx"], "operators": {"Conv": 11, "Relu": 13}},
         "lacks operators of this model: Gemm.*; Relu in version 14, of which 13 is the newest"),
        ("openvino", {"formats": ["openvino"], "operators": {"Convolution": 1, "Add": None}},
         "lacks operators of this model: .*MatMul; ReLU; Reshape"),
        ("onnx", {"constraints": {"io": ["int8", "float16"]}},
         "the inputs of model.onnx are float32, and .* takes int8 or float16"),
        ("openvino", {"constraints": {"io": ["uint8"]}}, "the inputs of model.xml are float32"),
        ("onnx", {"constraints": {"opset": 13}}, "needs opset 1[78], and .* takes 13 at most"),
    ],
)  # fmt: skip
def test_what_is_not_taken_is_said(
    format: str, more: dict[str, Any], message: str, files: dict[str, Path]
) -> None:
    with pytest.raises(TaskError, match=message):
        check(files[format], platform(**more), format, {})


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_what_is_taken_passes(format: str, files: dict[str, Path]) -> None:
    asked = {"constraints": {"io": ["float32"], "opset": 20}}
    check(files[format], platform(**asked), format, {})
    # Operators go by their names in the first format alone.
    other = "openvino" if format == "onnx" else "onnx"
    named = {"formats": [other, format], "operators": {"Nothing": None}}
    check(files[format], platform(**asked, **named), format, {})


def test_batches_are_full_and_hold_every_sample() -> None:
    samples = np.arange(10.0).reshape(5, 2)
    for rows in (1, 2, 5, 7):
        batches = full_batches(samples, rows)
        assert {len(each) for each in batches} == {rows}
        assert len(batches) == -(-5 // rows)
        rebuilt = np.concatenate(batches)
        assert (rebuilt[:5] == samples).all()
        assert (rebuilt[5:] == np.concatenate([samples, samples])[: len(rebuilt) - 5]).all()
