"""Kind export: files that are the model, each as its own runtime has loaded it, or why not."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from pydantic import ValidationError
from torch import Tensor, nn

from runner.errors import TaskError
from runner.kinds import find
from runner.kinds.export import ExportParams, made
from runner.model import Artifact, Context, Fact, Metric
from runner.torchlib import forms, to_onnx
from tests.serving.models import trained

pytestmark = pytest.mark.usefixtures("one_thread")

DIGITS = {"name": "digits"}
KIND = find("export")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("source") / "model")


def run(folder: Path, model: Path, **params: Any) -> list[Any]:
    checked = KIND.params.model_validate({"model": str(model), "data": DIGITS, **params})
    return list(KIND.run(Context(params=checked, folder=folder)))


def figures(items: list[Any]) -> dict[str, float]:
    return {item.name: item.value for item in items if isinstance(item, Metric)}


def artifacts(items: list[Any]) -> dict[str, Path]:
    return {item.name: item.path for item in items if isinstance(item, Artifact)}


def test_every_file_is_the_model_as_its_own_runtime_loads_it(source: Path, tmp_path: Path) -> None:
    formats = ["torch-export", "onnx", "openvino"]
    items = run(tmp_path, source, formats=formats)
    found, files = figures(items), artifacts(items)
    assert list(files) == formats
    assert found["baseline/test/accuracy"] > 0.85 and found["data/test_samples"] == 360
    runtimes = {item.name: item.text for item in items if isinstance(item, Fact)}
    for name, runtime in zip(formats, ("torch ", "onnxruntime ", "openvino "), strict=True):
        assert runtimes[name].startswith(runtime)
        assert found[f"{name}/test/accuracy"] == found["baseline/test/accuracy"]
        assert found[f"{name}/compression/agreement"] == 1.0
        assert found[f"{name}/compression/accuracy_drop"] == 0.0
        assert found[f"{name}/compression/largest_difference"] < 1e-4
        assert found[f"{name}/latency/p50_ms"] > 0 and found[f"{name}/operations/all"] >= 3
        size = sum(path.stat().st_size for path in files[name].iterdir())
        assert found[f"{name}/size/model_mb"] == size / 1e6
        assert found[f"{name}/size/parameters"] == 1210
    assert found["onnx/operations/cpu"] == found["onnx/operations/all"]
    model = onnx.load(files["onnx"] / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 17)]
    # A later task takes a file like any model.
    evaluate = find("evaluate")
    params = evaluate.params.model_validate({"model": str(files["onnx"]), "data": DIGITS})
    again = figures(list(evaluate.run(Context(params=params, folder=tmp_path))))
    assert again["test/accuracy"] == found["onnx/test/accuracy"]


def test_preprocessing_inside_and_a_fixed_batch(source: Path, tmp_path: Path) -> None:
    """The files take pixels, of which they get the same answers as the model of standardised."""
    items = run(
        tmp_path, source, formats=["onnx", "openvino"], preprocessing="inside", batch_size=7
    )
    found = figures(items)
    for name in ("onnx", "openvino"):
        assert found[f"{name}/compression/agreement"] == 1.0
        assert found[f"{name}/test/accuracy"] > 0.85
    form = json.loads((tmp_path / "onnx/model.json").read_text())["form"]
    assert (form["takes_raw"], form["batch_size"]) == (True, 7)
    (taken,) = onnx.load(tmp_path / "onnx/model.onnx").graph.input
    assert [size.dim_value for size in taken.type.tensor_type.shape.dim] == [7, 1, 8, 8]


def test_a_target_gets_its_opset_its_shapes_and_its_compilers_command(
    source: Path, tmp_path: Path
) -> None:
    items = run(tmp_path, source, target="jetson-nano")
    (folder,) = artifacts(items).values()
    assert folder.name == "onnx"
    model = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == 13
    (taken,) = model.graph.input
    assert [size.dim_value for size in taken.type.tensor_type.shape.dim] == [1, 1, 8, 8]
    assert "trtexec --onnx=model.onnx --fp16" in (folder / "compile.sh").read_text()
    assert "Jetson Nano" in (folder / "README.md").read_text()
    assert figures(items)["onnx/compression/agreement"] == 1.0


def test_a_writer_that_gets_weights_wrong_is_found_out(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = to_onnx.write_program

    def corrupt(program: Any, path: Path, *, what: str) -> None:
        write(program, path, what=what)
        model = onnx.load(path)
        weight = next(each for each in model.graph.initializer if len(each.dims) == 2)
        values = np.array(numpy_helper.to_array(weight))
        values *= 1.02
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
        onnx.save(model, path)

    monkeypatch.setattr(to_onnx, "write_program", corrupt)
    seen: list[Any] = []
    with pytest.raises(TaskError, match="the model as onnx is not the model it was made from"):
        params = KIND.params.model_validate(
            {"model": str(source), "data": DIGITS, "formats": ["onnx"]}
        )
        for item in KIND.run(Context(params=params, folder=tmp_path)):
            seen.append(item)
    # How wrong it is was measured; it is kept as no artifact that a later task could take.
    assert figures(seen)["onnx/compression/largest_difference"] > 0.01
    assert artifacts(seen) == {}


class Exotic(nn.Module):
    """With an operator that runtimes lack."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.linear(images.flatten(1))
        return torch.special.bessel_j0(out)


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_an_operator_that_a_format_lacks_is_told_with_its_line(
    format: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from runner.torchlib import artifact

    load = artifact.load
    monkeypatch.setattr(
        artifact, "load", lambda folder: replace(load(folder), model=Exotic().eval())
    )
    with pytest.raises(TaskError) as caught:
        run(tmp_path, source, formats=[format])
    assert "test_export.py:" in caught.value.message
    assert "return torch.special.bessel_j0(out)" in caught.value.message
    assert not (tmp_path / format).exists()


def test_an_operator_that_a_targets_opset_lacks_is_told_with_its_line(tmp_path: Path) -> None:
    from runner.data.models import ModelSpec
    from runner.torchlib import artifact, data
    from runner.torchlib.models import build

    digits = data.load(**DIGITS)
    spec = ModelSpec(name="vit", args={"patch": 4, "dim": 8, "depth": 1, "heads": 1})
    model = build(name="vit", args=spec.args, input_shape=(1, 8, 8), num_classes=10)
    artifact.save(tmp_path / "vit", model, spec=spec, dataset=digits)
    with pytest.raises(TaskError) as caught:
        run(tmp_path, tmp_path / "vit", target="jetson-nano")
    assert "LayerNormalization (blocks.0.norm1 at transformer.py:" in caught.value.message
    assert "at opset 13" in caught.value.message


def test_a_package_that_is_missing_is_told_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = ("lacking_package", "lacking-package", "executorch")
    monkeypatch.setitem(forms._PACKAGES, "executorch", (lacking,))
    with pytest.raises(TaskError, match="executorch needs the package lacking-package") as caught:
        run(tmp_path, tmp_path / "there-is-no-model", formats=["executorch"])
    assert caught.value.hint == "pip install 'runner[executorch]'"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "expected 'formats', or a 'target' that has one"),
        ({"formats": []}, "at least 1 item"),
        ({"formats": ["onnx", "onnx"]}, "names onnx twice"),
        ({"formats": ["onyx"]}, "Input should be"),
        ({"formats": ["openvino"], "opset": 17}, "'opset' is of ONNX files"),
        ({"target": "coral"}, "takes models quantized int8-static, .* expected kind: quantize"),
        ({"target": "ascend-310", "formats": ["openvino"]}, "takes no openvino; expected onnx"),
        ({"target": "jetson-nano", "opset": 17}, "takes no opset 17; expected 13 or less"),
    ],
)
def test_what_does_not_go_together_is_a_fault_of_the_spec(
    params: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        ExportParams.model_validate({"model": "m", "data": DIGITS, **params})


def test_later_tasks_may_name_what_this_one_makes() -> None:
    assert made({"formats": ["openvino", "onnx"]}) == ("onnx", "openvino")
    assert made({"target": "ascend-310"}) == ("onnx",)
    assert made({"formats": "onnx"}) == ()  # a fault, told elsewhere


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")
def test_a_package_of_machine_code_is_the_model_too(source: Path, tmp_path: Path) -> None:
    items = run(tmp_path, source, formats=["aotinductor"])
    assert figures(items)["aotinductor/compression/agreement"] == 1.0
    file = artifacts(items)["aotinductor"] / "model.pt2"
    # Bytes of the weights, or of the code: the archive knows that they were others.
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    file.write_bytes(bytes(damaged))
    from runner.serving.server import Server

    with pytest.raises(TaskError, match=r"model\.pt2 is damaged"):
        Server(file.parent, threads=1)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("format", "module", "taken_by"),
    [("litert", "litert_torch", "xnnpack"), ("executorch", "executorch", "xnnpack")],
)
def test_files_for_phones_are_the_model_too(
    format: str, module: str, taken_by: str, source: Path, tmp_path: Path
) -> None:
    if find_spec(module) is None:
        pytest.skip(f"needs {module}: pip install 'runner[{format}]'")
    items = run(tmp_path, source, formats=[format])
    found = figures(items)
    assert found[f"{format}/compression/agreement"] == 1.0
    assert found[f"{format}/test/accuracy"] == found["baseline/test/accuracy"]
    assert found[f"{format}/operations/{taken_by}"] >= 3
    form = json.loads((artifacts(items)[format] / "model.json").read_text())["form"]
    assert form["batch_size"] == 1
