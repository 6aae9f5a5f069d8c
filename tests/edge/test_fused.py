"""What ONNX Runtime fused of a file is told, and the file that it leaves computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from runner.edge.fused import optimise_onnx
from runner.errors import TaskError


def branched(folder: Path) -> Path:
    """relu(conv(x)), twice in a row, and a sum of the two."""
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(
            (random.standard_normal((3, 3, 3, 3)) / 5).astype(np.float32), f"w{index}"
        )
        for index in range(2)
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], name="first/Conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="act/Relu"),
        helper.make_node("Conv", ["b", "w1"], ["c"], name="second/Conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"], name="act/Relu_1"),
        helper.make_node("Mul", ["b", "d"], ["e"], name="Mul"),
        helper.make_node("Sigmoid", ["e"], ["y"], name="Sigmoid"),
    ]
    shape: list[Any] = ["rows", 3, 6, 6]
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def test_the_nodes_that_one_stands_for_are_named(tmp_path: Path) -> None:
    file = branched(tmp_path)
    inputs = {"x": np.random.default_rng(1).standard_normal((2, 3, 6, 6)).astype(np.float32)}
    expected = onnxruntime.InferenceSession(file).run(None, inputs)[0]
    found = optimise_onnx(file, threads=1)
    assert [(each.operators, each.modules) for each in found] == [
        (("Conv", "Relu"), ("first", "act")),
        (("Conv", "Relu"), ("second", "act")),
    ]
    assert [node.op_type for node in onnx.load(file).graph.node] == [
        "FusedConv", "FusedConv", "Mul", "Sigmoid",
    ]  # fmt: skip
    assert np.allclose(onnxruntime.InferenceSession(file).run(None, inputs)[0], expected, atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx"]


def test_a_file_that_the_runtime_refuses(tmp_path: Path) -> None:
    file = branched(tmp_path)
    model = onnx.load(file)
    model.graph.node[0].op_type = "Convolve"
    onnx.save(model, file)
    with pytest.raises(TaskError, match=r"ONNX Runtime can't optimise model\.onnx: .*Convolve"):
        optimise_onnx(file, threads=1)
