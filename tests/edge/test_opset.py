"""ONNX files at an older opset compute what they did, or are refused with the line at fault."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from runner.edge.opset import lower, operators, opset_of
from runner.errors import TaskError

INPUTS = np.linspace(-2, 3, 2 * 4 * 6, dtype=np.float32).reshape(2, 4, 6)


def file_of(folder: Path, nodes: Sequence[Any], rank: int = 3, **constants: Any) -> Path:
    """A model at opset 18 that takes (rows, 4, 6) and gives ``y`` of so many axes."""
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list("abc")[:rank])],
        [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def outputs(file: Path) -> Any:
    return onnxruntime.InferenceSession(file).run(None, {"x": INPUTS})[0]


CASES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "axes as an input": (
        [helper.make_node("ReduceMean", ["x", "axes"], ["y"], name="pool/ReduceMean")],
        {"axes": [1, 2]},
    ),
    "the same, and what it does where there are none": (
        [helper.make_node("ReduceMax", ["x", "axes"], ["y"], keepdims=0, noop_with_empty_axes=0)],
        {"axes": [1], "rank": 2},
    ),
    "a sum, whose axes were an input before": (
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"])],
        {"axes": [2]},
    ),
    "padding": (
        [helper.make_node("Pad", ["x", "pads"], ["y"])],
        {"pads": [0, 0, 1, 0, 2, 1]},
    ),
    "zeros in a shape": (
        [helper.make_node("Reshape", ["x", "shape"], ["y"], allowzero=1)],
        {"shape": [-1, 24], "rank": 2},
    ),
    "a split into equal parts": (
        [
            helper.make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2),
            helper.make_node("Identity", ["a"], ["c"]),
            helper.make_node("Sub", ["c", "b"], ["y"]),
        ],
        {},
    ),
}


@pytest.mark.parametrize("opset", [17, 13])
@pytest.mark.parametrize("case", CASES)
def test_an_older_form_computes_the_same(case: str, opset: int, tmp_path: Path) -> None:
    nodes, constants = CASES[case]
    file = file_of(tmp_path, nodes, **constants)
    expected = outputs(file)
    lower(file, opset, {})
    made = onnx.load(file)
    onnx.checker.check_model(made, full_check=True)
    assert opset_of(made) == opset
    assert np.array_equal(outputs(file), expected)


def test_a_file_that_is_old_enough_is_left(tmp_path: Path) -> None:
    file = file_of(tmp_path, [helper.make_node("Relu", ["x"], ["y"])])
    before = file.read_bytes()
    lower(file, 18, {})
    assert file.read_bytes() == before


def test_nodes_keep_their_names(tmp_path: Path) -> None:
    file = file_of(tmp_path, [helper.make_node("Relu", ["x"], ["y"], name="body.0/Relu")])
    lower(file, 17, {})
    assert [node.name for node in onnx.load(file).graph.node] == ["body.0/Relu"]


def normed(folder: Path) -> Path:
    node = helper.make_node(
        "LayerNormalization", ["x", "scale"], ["y"], name="body.norm/LayerNormalization"
    )
    return file_of(folder, [node], scale=np.ones(6, dtype=np.float32))


def test_an_operator_that_is_newer_is_told_with_its_line(tmp_path: Path) -> None:
    file = normed(tmp_path)
    before = file.read_bytes()
    lines = {"body.norm": "net.py:12 in forward: x = self.norm(x)"}
    with pytest.raises(TaskError) as caught:
        lower(file, 13, lines)
    assert caught.value.message == (
        "ONNX has no LayerNormalization (body.norm at net.py:12 in forward: x = self.norm(x)) "
        "at opset 13 yet"
    )
    assert "it is written at opset 18" in caught.value.hint
    assert file.read_bytes() == before


def test_axes_that_are_computed_have_no_older_form(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["one", "one"], ["axes"]),
        helper.make_node("ReduceMean", ["x", "axes"], ["y"]),
    ]
    with pytest.raises(TaskError, match=r"can't be written at opset 17: .*ReduceMean"):
        lower(file_of(tmp_path, nodes, one=[1]), 17, {})


def test_operators_are_counted_and_told_with_the_first_line(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="first/Relu"),
        helper.make_node("Relu", ["a"], ["b"], name="second/Relu"),
        helper.make_node("Add", ["a", "b"], ["y"], name="Add"),
    ]
    found = operators(file_of(tmp_path, nodes), {"first": "net.py:3 in forward"})
    assert [(each.name, each.count, each.where) for each in found] == [
        ("Add", 1, ""),
        ("Relu", 2, "first at net.py:3 in forward"),
    ]
