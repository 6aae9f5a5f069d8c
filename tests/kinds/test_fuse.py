"""Kind fuse names what was fused, which is still the model; a compile that changes it is caught."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from runner.data.models import ModelSpec
from runner.edge import fused
from runner.errors import TaskError
from runner.kinds import find
from runner.model import Artifact, Context, Fact, Metric
from runner.torchlib import artifact, data
from runner.torchlib.models import build

pytestmark = pytest.mark.usefixtures("one_thread")

DIGITS = {"name": "digits"}
KIND = find("fuse")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small convnet whose norms have statistics of the digits."""
    digits = data.load(name="digits")
    spec = ModelSpec(name="convnet", args={"channels": [4, 8], "hidden": 16})
    model = build(name="convnet", args=spec.args, input_shape=digits.input_shape, num_classes=10)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        outputs = model(digits.train_inputs[:500])
        loss = nn.functional.cross_entropy(outputs, digits.train_targets[:500])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    folder = tmp_path_factory.mktemp("source") / "model"
    artifact.save(folder, model, spec=spec, dataset=digits)
    return folder


def run(folder: Path, model: Path, **params: Any) -> list[Any]:
    checked = KIND.params.model_validate({"model": str(model), "data": DIGITS, **params})
    return list(KIND.run(Context(params=checked, folder=folder)))


@pytest.mark.parametrize(
    ("compiler", "runtime", "named"),
    [
        ("onnxruntime", "onnxruntime ", "2 of Conv + Relu (0 + 2, 3 + 5); 1 of Gemm + Relu"),
        ("openvino", "openvino ", "2 of convolution + relu (0 + 2, 3 + 5); 1 of linear + relu"),
        pytest.param(
            "aotinductor",
            "torch ",
            "2 of convolution + relu (0 + 2, 3 + 5); 1 of linear + relu",
            marks=[
                pytest.mark.slow,
                pytest.mark.timeout(600),
                pytest.mark.filterwarnings("default"),
            ],
        ),
    ],
)
def test_what_was_fused_is_named_and_is_the_model(
    compiler: str, runtime: str, named: str, source: Path, tmp_path: Path
) -> None:
    items = run(tmp_path, source, compiler=compiler)
    facts = {item.name: item.text for item in items if isinstance(item, Fact)}
    assert facts["fused in the graph"] == "2 of convolution + batch norm (0 + 1, 3 + 4)"
    assert facts[f"fused by {compiler}"].startswith(named)
    assert facts["runtime"].startswith(runtime)
    found = {item.name: item.value for item in items if isinstance(item, Metric)}
    assert (found["fused/in_graph"], found["fused/by_compiler"] >= 3) == (2, True)
    assert found["compression/agreement"] == 1.0
    assert found["compression/largest_difference"] < 1e-3
    assert found["test/accuracy"] == found["baseline/test/accuracy"]
    assert found["baseline/latency/p50_ms"] > 0 and found["latency/p50_ms"] > 0
    if compiler != "aotinductor":
        assert found["operations/all"] < found["operations/before"]
    (kept,) = (item.path for item in items if isinstance(item, Artifact))
    evaluate = find("evaluate")
    params = evaluate.params.model_validate({"model": str(kept), "data": DIGITS})
    again = evaluate.run(Context(params=params, folder=tmp_path))
    scores = [i.value for i in again if isinstance(i, Metric) and i.name == "test/accuracy"]
    assert scores == [found["test/accuracy"]]


def test_a_compile_that_changes_the_outputs_is_caught(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By as little as a bias that was added twice."""
    optimise = fused.optimise_onnx

    def corrupt(path: Path, *, threads: int) -> Any:
        found = optimise(path, threads=threads)
        model = onnx.load(path)
        bias = next(each for each in model.graph.initializer if list(each.dims) == [10])
        values = np.array(numpy_helper.to_array(bias))
        bias.CopyFrom(numpy_helper.from_array(2 * values, bias.name))
        onnx.save(model, path)
        return found

    monkeypatch.setattr(fused, "optimise_onnx", corrupt)
    with pytest.raises(TaskError, match="as fused by onnxruntime is not the model"):
        run(tmp_path, source)
