"""A small trained model in a folder, and ONNX files that stand for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from runner.data import load
from runner.data.dataset import Dataset
from runner.data.described import Described, Form, read_any, write
from runner.data.models import ModelSpec
from runner.torchlib import artifact
from runner.torchlib.data import from_arrays
from runner.torchlib.models import build

SPEC = ModelSpec(name="mlp", args={"hidden": [16], "dropout": 0.0})


def digits() -> Dataset:
    return load(name="digits")


def trained(folder: Path, steps: int = 60) -> Path:
    """A model that knows something of the digits, in ``folder``."""
    data = from_arrays(digits())
    torch.manual_seed(0)
    model = build(name="mlp", args=SPEC.args, input_shape=data.input_shape, num_classes=10)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(data.train_inputs), data.train_targets.long())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    artifact.save(folder, model, spec=SPEC, dataset=data)
    return folder


def described(source: Path, form: Form) -> Described:
    return replace(read_any(source)[1], form=form)


def as_onnx(source: Path, folder: Path, *, batch_size: int | None = None, **form: Any) -> Path:
    """The mlp in ``source`` as an ONNX file that is written by hand, in ``folder``."""
    linears = [
        part for part in artifact.load(source).model.modules() if isinstance(part, nn.Linear)
    ]
    nodes, weights, taken = [], [], "flat"
    nodes.append(helper.make_node("Flatten", ["inputs"], ["flat"], axis=1))
    for index, linear in enumerate(linears):
        for name, value in (("w", linear.weight), ("b", linear.bias)):
            weights.append(numpy_helper.from_array(value.detach().numpy(), f"{name}{index}"))
        is_last = index == len(linears) - 1
        given = "logits" if is_last else f"hidden{index}"
        nodes.append(helper.make_node("Gemm", [taken, f"w{index}", f"b{index}"], [given], transB=1))
        if not is_last:
            nodes.append(helper.make_node("Relu", [given], [f"positive{index}"]))
            taken = f"positive{index}"
    rows, shape = batch_size or "rows", read_any(source)[1].input_shape
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, [rows, *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [rows, 10])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    write(
        folder,
        described(source, Form(format="onnx", file="model.onnx", batch_size=batch_size, **form)),
        framework="torch",
        put=lambda unfinished: onnx.save(model, unfinished / "model.onnx"),
    )
    return folder


def change_weights(folder: Path, times: float = -1.0) -> None:
    """Multiplies the first weights in the file, as a broken disk or converter may change them."""
    model = onnx.load(folder / "model.onnx")
    (first,) = [part for part in model.graph.initializer if part.name == "w0"]
    first.CopyFrom(numpy_helper.from_array(np.float32(times) * numpy_helper.to_array(first), "w0"))
    onnx.save(model, folder / "model.onnx")
