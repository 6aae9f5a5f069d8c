"""What ATen's operators become in a file, against what the formats themselves list."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.edge.operators import TABLES, lowered
from runner.edge.platforms import platforms
from runner.edge.targets import Operator


def test_both_formats_know_the_same_operators() -> None:
    # LiteRT has no operator for the error function.
    assert set(TABLES["litert"]) == set(TABLES["onnx"]) - {"erf"}


def test_names_are_those_of_litert() -> None:
    schema = pytest.importorskip(
        "ai_edge_litert.schema_py_generated", reason="LiteRT's names are in ai-edge-litert"
    )
    known = {name for name in vars(schema.BuiltinOperator) if name.isupper()}
    used = {name for names in TABLES["litert"].values() for name in names}
    assert used - known == set()
    for platform in platforms().values():
        if platform.operators is not None and platform.formats[0] == "litert":
            assert set(platform.operators) - known == set()


def test_names_are_those_of_onnx_at_opset_17() -> None:
    onnx = pytest.importorskip("onnx", reason="ONNX's names are in onnx")
    used = {name for names in TABLES["onnx"].values() for name in names}
    assert [name for name in sorted(used) if not onnx.defs.has(name, 17, "")] == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["mlp", "convnet", "resnet", "vit"])
def test_a_file_is_made_of_what_was_said_beforehand(name: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="ONNX files are read by onnx")
    pytest.importorskip("onnxscript", reason="PyTorch writes ONNX with onnxscript")
    import torch

    from runner.torchlib.costs import count
    from runner.torchlib.models import build

    args = {"patch": 4, "dim": 16, "depth": 1, "heads": 2} if name == "vit" else {}
    model = build(name=name, args=args, input_shape=(1, 8, 8), num_classes=10).eval()
    said = lowered(count(model, (1, 8, 8), "float32").operators, "onnx")
    assert said.unknown == ()
    inputs = (torch.zeros(1, 1, 8, 8),)
    program = torch.onnx.export(model, inputs, dynamo=True, opset_version=18, verbose=False)
    assert program is not None
    program.save(str(tmp_path / "model.onnx"))
    made = {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    assert made - {operator.name for operator in said.operators} == set()


def test_they_are_counted_in_place_or_not_and_shapes_are_none() -> None:
    made = lowered({"relu": 2, "relu_": 3, "t": 9, "expand": 4, "_softmax": 1}, "litert")
    assert made.operators == (
        Operator(name="RELU", count=5),
        Operator(name="SOFTMAX", count=1),
    )
    assert made.unknown == ()


def test_what_is_not_known_is_named() -> None:
    made = lowered({"convolution": 1, "my_own_kernel": 2, "grid_sampler_2d": 1}, "onnx")
    assert made.operators == (Operator(name="Conv", count=1),)
    assert made.unknown == ("grid_sampler_2d", "my_own_kernel")
    assert lowered({"convolution": 1}, "executorch").unknown == ("convolution",)
