"""kind: quantize, from a model's folder to the fastest form of it that is accurate enough."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from runner.data import load
from runner.data.described import read_any
from runner.data.models import ModelSpec
from runner.edge import litert_file, targets
from runner.errors import TaskError
from runner.kinds import aware_training, candidates, find
from runner.kinds.quantize import QuantizeParams
from runner.model import Resources
from runner.torchlib import artifact
from runner.torchlib.artifact import save
from runner.torchlib.data import from_arrays
from runner.torchlib.models import build
from tests.kinds.quantizing import ARGS, DIGITS, Ran, kept, knowing

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """An mlp that knows the digits."""
    return knowing()


@pytest.fixture
def folder(model: nn.Module, tmp_path: Path) -> str:
    return kept(model, tmp_path / "float")


def test_what_is_kept_is_smaller_as_accurate_and_says_what_it_is(
    folder: str, tmp_path: Path
) -> None:
    ran = Ran(tmp_path, model=folder, data=DIGITS, scheme="int8-static", runtime="onnx")
    framework, described = read_any(ran.made["model"])
    assert framework == "torch"
    assert described.form is not None
    assert str(described.form) == "onnx int8-static"
    assert ran.metrics["test/accuracy"] >= ran.metrics["baseline/test/accuracy"] - 0.01
    assert ran.metrics["compression/size_ratio"] > 2.5
    assert ran.metrics["compression/largest_difference"] > 0.0
    assert ran.facts["kept"].startswith("onnx int8-static, by onnxruntime")
    assert not any(name.startswith("tried/") for name in ran.metrics)


def test_auto_tries_what_there_is_tells_why_something_is_not_and_keeps_the_fastest(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = TaskError("NNCF has no time for it")

    def refuse(*_: object, **__: object) -> None:
        raise refused

    monkeypatch.setattr("runner.edge.quantizers.openvino.quantize", refuse)
    ran = Ran(tmp_path, model=folder, data=DIGITS)
    tried = {name.split("/")[1] for name in ran.metrics if name.startswith("tried/")}
    assert {"onnx-int8-static", "onnx-int8-dynamic"} <= tried
    assert "openvino-int8-static" not in tried
    assert ran.facts["left out: openvino int8-static"] == "NNCF has no time for it"

    def gain(name: str) -> float:
        alone = ran.metrics[f"tried/{name}/latency/p50_ms"]
        return float(ran.metrics[f"tried/{name}/throughput/samples_per_s"] / alone)

    within = [
        name
        for name in tried
        if ran.metrics["baseline/test/accuracy"] - ran.metrics[f"tried/{name}/test/accuracy"]
        <= 0.01
    ]
    best = max(within, key=gain)
    assert ran.facts["kept"].startswith(best.replace("-", " ", 1))
    assert ran.metrics["latency/p50_ms"] == ran.metrics[f"tried/{best}/latency/p50_ms"]


def spoilt(model: nn.Module) -> nn.Module:
    """The same function, one of whose activations dwarfs all others, so that 8 bit can't hold it.

    A unit before ReLU is a thousand times larger, and counts for a thousandth after it.
    """
    made = build(name="mlp", args=ARGS, input_shape=(1, 8, 8), num_classes=10)
    made.load_state_dict(model.state_dict())
    first, second, _ = (each for each in made.modules() if isinstance(each, nn.Linear))
    with torch.no_grad():
        unit = int(first.weight.norm(dim=1).argmax())
        first.weight[unit] *= 3000.0
        first.bias[unit] *= 3000.0
        second.weight[:, unit] /= 3000.0
    return made


def test_where_nothing_can_be_had_all_reasons_are_told_and_each_hint_once(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = TaskError("it needs the package onnx", hint="pip install 'runner[edge]'")

    def refuse(*_: object, **__: object) -> None:
        raise refused

    monkeypatch.setattr(candidates.Source, "make", refuse)
    with pytest.raises(
        TaskError, match=r"onnx int8-static: it needs .*; onnx int8-dynamic: "
    ) as told:
        Ran(tmp_path, model=folder, data=DIGITS)
    assert told.value.hint == "pip install 'runner[edge]'"


def test_layers_go_back_to_float_until_the_gate_is_met(model: nn.Module, tmp_path: Path) -> None:
    folder = kept(spoilt(model), tmp_path / "float")
    ran = Ran(tmp_path, model=folder, data=DIGITS, scheme="int8-static", runtime="onnx")
    assert ran.metrics["compression/accuracy_drop"] <= 0.01
    # The layer that makes the large activation, and the one that takes it.
    assert ran.facts["stayed in float"] == "2: 1, 3"
    assert ran.metrics["compression/size_ratio"] > 1.01


def test_nothing_that_was_tried_is_left_lying_about(model: nn.Module, tmp_path: Path) -> None:
    folder = kept(spoilt(model), tmp_path / "float")
    made: list[int] = []
    source_make = candidates.Source.make

    def make(self: Any, *given: Any, **more: Any) -> Any:
        made.append(len(list(self.scratch.glob("onnx-int8-static-*"))))
        return source_make(self, *given, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates.Source, "make", make)
        Ran(tmp_path / "out", model=folder, data=DIGITS, scheme="int8-static", runtime="onnx")
    assert len(made) > 4
    assert max(made) == 1  # the first, which waits to be measured
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"runtime": "openvino", "granularity": "group"}, "NNCF makes int8-weight with"),
        ({"runtime": "torch", "granularity": "group", "group_size": 48}, "torchao can't make int8"),
        (
            {"runtime": "executorch", "scheme": "int8-dynamic", "granularity": "tensor"},
            "XNNPACK makes int8-dynamic with granularity channel, and tensor is asked for",
        ),
    ],
)
def test_a_granularity_is_never_taken_for_another_one(
    folder: str, tmp_path: Path, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(TaskError, match=message):
        Ran(tmp_path, model=folder, data=DIGITS, **{"scheme": "int8-weight", **params})


def test_weights_in_groups_stay_in_pytorch(folder: str, tmp_path: Path) -> None:
    settings = {"scheme": "int8-weight", "runtime": "torch", "granularity": "group"}
    ran = Ran(tmp_path, model=folder, data=DIGITS, **settings, group_size=32)
    assert ran.metrics["compression/agreement"] > 0.99


def test_training_that_rounds_is_in_fp32_on_any_device(folder: str) -> None:
    settings = {"model": folder, "data": DIGITS, "scheme": "int8-qat", "max_steps": 1}
    params: Any = find("quantize").params.model_validate(settings)
    source: Any = SimpleNamespace(loaded=artifact.load(Path(folder)))
    assert aware_training._training(params, source).precision == "fp32"


def test_a_target_sets_scheme_runtime_and_shapes_and_gets_its_compilers_command(
    folder: str, tmp_path: Path
) -> None:
    ran = Ran(tmp_path, model=folder, data=DIGITS, target="jetson-orin-nano")
    _, described = read_any(ran.made["model"])
    assert str(described.form) == "onnx int8-static"
    assert described.form is not None
    assert described.form.batch_size == 1
    script = (ran.made["model"] / "compile.sh").read_text()
    assert "trtexec --onnx=model.onnx" in script
    assert "This has not been done here." in (ran.made["model"] / "README.md").read_text()
    made = onnx.load(ran.made["model"] / "model.onnx")
    assert made.opset_import[0].version <= 17
    # TensorRT takes signed activations whose zero is 0, whatever this CPU is fast with.
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in made.graph.initializer}
    zeros = [constants[n.input[2]] for n in made.graph.node if n.op_type == "QuantizeLinear"]
    assert {str(zero.dtype) for zero in zeros} == {"int8"}
    assert not any(zero.any() for zero in zeros)
    assert "VNNI" not in ran.facts["kept"]
    assert ran.facts["made for"].startswith("NVIDIA Jetson Orin Nano")
    assert "run model/compile.sh where its compiler is; figures are" in ran.facts["made for"]


@pytest.mark.skipif(
    find_spec("litert_torch") is None, reason="needs litert-torch: pip install 'runner[litert]'"
)
def test_for_coral_a_file_holds_integers_alone_and_what_its_compiler_lacks_is_said_first(
    folder: str, tmp_path: Path
) -> None:
    ran = Ran(tmp_path / "made", model=folder, data=DIGITS, target="coral")
    held = litert_file.read(ran.made["model"] / "model.tflite")
    litert_file.check_full_integer(held)
    assert {each.dtype for each in (*held.inputs, *held.outputs)} <= {"int8", "uint8"}
    targets.check_operators(targets.find("coral"), held.operators)
    assert "edgetpu_compiler" in (ran.made["model"] / "compile.sh").read_text()
    data = from_arrays(load(name="digits"))
    args = {"dim": 16, "depth": 1, "heads": 2, "patch": 4}
    vit = build(name="vit", args=args, input_shape=data.input_shape, num_classes=10)
    save(tmp_path / "vit", vit, spec=ModelSpec(name="vit", args=args), dataset=data)
    with pytest.raises(TaskError, match=r"Coral .* lacks operators of this model: .*GELU"):
        Ran(tmp_path / "none", model=str(tmp_path / "vit"), data=DIGITS, target="coral")


needs_executorch = pytest.mark.skipif(
    find_spec("executorch") is None, reason="needs executorch: pip install 'runner[executorch]'"
)


@needs_executorch
@pytest.mark.filterwarnings("default")
def test_for_phones_a_file_of_executorch_is_measured_by_executorch(
    folder: str, tmp_path: Path
) -> None:
    ran = Ran(tmp_path, model=folder, data=DIGITS, target="phone", scheme="int8-static")
    _, described = read_any(ran.made["model"])
    assert described.form is not None
    assert str(described.form) == "executorch int8-static"
    assert described.form.batch_size == 1
    assert ran.facts["kept"].startswith("executorch int8-static, by ExecuTorch")
    assert ran.metrics["test/accuracy"] >= ran.metrics["baseline/test/accuracy"] - 0.01
    assert ran.metrics["compression/size_ratio"] > 2.5
    assert ran.metrics["compression/largest_difference"] > 0.0
    assert ran.metrics["operations/xnnpack"] > 3
    assert "no compiler" in ran.facts["made for"]


@needs_executorch
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")
def test_layers_go_back_to_float_for_executorch_too(model: nn.Module, tmp_path: Path) -> None:
    folder = kept(spoilt(model), tmp_path / "float")
    ran = Ran(tmp_path, model=folder, data=DIGITS, scheme="int8-static", runtime="executorch")
    assert ran.metrics["compression/accuracy_drop"] <= 0.01
    assert ran.facts["stayed in float"] == "2: 1, 3"


def test_what_is_not_installed_is_left_out_of_auto_and_told_if_it_is_asked_for(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runner.data import extras

    monkeypatch.setattr(
        extras, "find_spec", lambda name: None if name == "executorch" else find_spec(name)
    )
    ran = Ran(tmp_path / "auto", model=folder, data=DIGITS, scheme="int8-dynamic")
    lacks = "a model for ExecuTorch needs the package executorch, which is not installed"
    assert ran.facts["left out: executorch int8-dynamic"] == lacks
    with pytest.raises(TaskError, match=lacks) as told:
        Ran(tmp_path, model=folder, data=DIGITS, scheme="int8-dynamic", runtime="executorch")
    assert told.value.hint == "pip install 'runner[executorch]'"


def test_a_pattern_that_names_no_layer_is_refused(folder: str, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="'ignore' names heads, and the model has no such layer"):
        Ran(tmp_path, model=folder, data=DIGITS, ignore=["heads"])


@pytest.mark.parametrize("scheme", ["int8-static", "int4-weight"])
def test_a_model_of_which_nothing_is_left_to_quantize(
    folder: str, tmp_path: Path, scheme: str
) -> None:
    message = "'ignore' names all 3 layers of the model that have weights to multiply by"
    with pytest.raises(TaskError, match=message):
        Ran(tmp_path, model=folder, data=DIGITS, scheme=scheme, ignore=["*"])
    ran = Ran(tmp_path, model=folder, data=DIGITS, scheme=scheme, runtime="onnx", ignore=["1"])
    assert ran.facts["left in float by ignore"] == "1: 1"


def test_ignored_layers_stay_in_float(folder: str, tmp_path: Path) -> None:
    sizes = {
        pattern: Ran(
            tmp_path / pattern,
            model=folder,
            data=DIGITS,
            scheme="int8-static",
            runtime="onnx",
            ignore=[pattern],
        ).metrics["size/model_mb"]
        for pattern in ("1", "5")
    }
    # 64 x 128 and 128 x 10 weights: three bytes more for each of them.
    assert sizes["1"] - sizes["5"] == pytest.approx(3e-6 * (64 * 128 - 128 * 10), rel=0.1)


def test_a_calibration_set_of_one_class_is_refused_before_anything_is_made(
    folder: str, tmp_path: Path
) -> None:
    data = load(name="digits")
    ones = data.train_targets == 1
    raw = data.train_inputs * np.array(data.preprocessing["std"]) + data.preprocessing["mean"]
    np.savez(tmp_path / "ones.npz", x=raw[ones].astype(np.float32), y=data.train_targets[ones])
    calibration = {"data": {"path": str(tmp_path / "ones.npz")}}
    with pytest.raises(TaskError, match="all of class '1'"):
        Ran(tmp_path / "out", model=folder, data=DIGITS, calibration=calibration)
    assert not (tmp_path / "out").exists()


def test_what_stays_in_pytorch_is_smaller_and_loads_without_a_pickle(
    folder: str, tmp_path: Path
) -> None:
    ran = Ran(tmp_path, model=folder, data=DIGITS, scheme="int8-weight", runtime="torch")
    _, described = read_any(ran.made["model"])
    assert described.form is not None
    assert str(described.form) == "torch-quantized int8-weight"
    assert ran.metrics["compression/size_ratio"] > 2.5
    assert ran.metrics["compression/accuracy_drop"] <= 0.01
    state = torch.load(ran.made["model"] / described.form.file, weights_only=True)
    assert set(state) == {f"{layer}.{part}" for layer in "135" for part in ("weight", "bias")}


def test_fp8_is_refused_without_a_gpu_that_has_it(folder: str, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"fp8 needs a GPU that multiplies in it .* this is cpu"):
        Ran(tmp_path, model=folder, data=DIGITS, scheme="fp8")
    kind = find("quantize")
    params = QuantizeParams.model_validate({"model": folder, "data": DIGITS, "scheme": "fp8"})
    assert kind.resources is not None
    with pytest.raises(ValueError, match="expected accelerators: H100:1"):
        kind.resources(params, Resources())
