"""What each runtime's quantizer makes of a model: numbers, sizes, and layers left in float."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from runner.data import load
from runner.data.models import ModelSpec
from runner.edge.quantizers import onnx as quantizer
from runner.edge.quantizers import openvino as nncf_quantizer
from runner.edge.quantizers.recipe import Recipe
from runner.edge.runtimes import onnx as runtime
from runner.edge.runtimes import openvino as openvino_runtime
from runner.errors import TaskError
from runner.torchlib.artifact import LoadedModel, save
from runner.torchlib.artifact import load as load_model
from runner.torchlib.data import from_arrays
from runner.torchlib.models import build
from runner.torchlib.to_onnx import write_onnx

pytestmark = pytest.mark.usefixtures("one_thread")

ARGS = {"channels": [8, 16], "hidden": 256, "pool_every": 1, "dropout": 0.0}
GROUPED = Recipe(scheme="int4-weight", granularity="group", group_size=32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A convnet that knows the digits a little."""
    folder = tmp_path_factory.mktemp("model") / "model"
    data = from_arrays(load(name="digits"))
    made = build(name="convnet", args=ARGS, input_shape=data.input_shape, num_classes=10)
    optimizer = torch.optim.Adam(made.parameters(), lr=5e-3)
    for _ in range(40):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(made(data.train_inputs), data.train_targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    save(folder, made, spec=ModelSpec(name="convnet", args=ARGS), dataset=data)
    return load_model(folder)


@pytest.fixture(scope="module")
def source(model: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "float.onnx"
    write_onnx(model, path)
    return path


@pytest.fixture(scope="module")
def samples() -> Any:
    return load(name="digits").train_inputs[:64]


@pytest.fixture(scope="module")
def held_out() -> Any:
    return load(name="digits").test_inputs


def answers(module: Any, path: Path, model: LoadedModel, inputs: Any) -> Any:
    opened = module.open_model(path, model, threads=1, device="cpu")
    return opened.call(opened.ready(inputs))


def expected(model: LoadedModel, inputs: Any) -> Any:
    with torch.no_grad():
        return model.model(torch.from_numpy(inputs)).numpy()


def agreement(ours: Any, theirs: Any) -> float:
    return float((ours.argmax(1) == theirs.argmax(1)).mean())


@pytest.mark.parametrize(
    ("recipe", "ratio"),
    [
        (Recipe(scheme="int8-static"), 0.45),
        (Recipe(scheme="int8-dynamic"), 0.45),
        (Recipe(scheme="int8-weight", granularity="group", group_size=32), 0.45),
        (GROUPED, 0.35),
    ],
    ids=lambda value: getattr(value, "scheme", ""),
)
def test_onnx_gives_much_the_same_answers_from_a_much_smaller_file(
    recipe: Recipe,
    ratio: float,
    model: LoadedModel,
    source: Path,
    samples: Any,
    held_out: Any,
    tmp_path: Path,
) -> None:
    made = tmp_path / "model.onnx"
    quantizer.quantize(source, made, recipe, samples)
    ours = answers(runtime, made, model, held_out)
    assert agreement(ours, expected(model, held_out)) >= 0.97
    assert np.abs(ours - expected(model, held_out)).max() > 0.0
    assert made.stat().st_size <= ratio * source.stat().st_size


def types(path: Path) -> Counter[int]:
    """How many weights the file holds in which numbers."""
    found: Counter[int] = Counter()
    for each in onnx.load(str(path)).graph.initializer:
        found[each.data_type] += int(np.prod(each.dims))
    return found


def test_int4_takes_half_a_byte_and_not_a_byte_that_is_called_so(
    source: Path, samples: Any, tmp_path: Path
) -> None:
    made = tmp_path / "model.onnx"
    quantizer.quantize(source, made, GROUPED, samples)
    weights = sum(
        int(np.prod(each.dims))
        for each in onnx.load(str(source)).graph.initializer
        if len(each.dims) > 1
    )
    found = types(made)
    packed = found[TensorProto.UINT8] + found[TensorProto.INT4] / 2
    assert weights / 2 <= packed
    assert packed <= weights / 2 * 1.1
    assert found[TensorProto.FLOAT] < 0.1 * weights


def test_a_layer_that_is_to_stay_in_float_does(source: Path, samples: Any, tmp_path: Path) -> None:
    whole, partly = tmp_path / "whole.onnx", tmp_path / "partly.onnx"
    recipe = Recipe(scheme="int8-static")
    quantizer.quantize(source, whole, recipe, samples)
    quantizer.quantize(source, partly, replace(recipe, floats=("0", "4")), samples)
    convolutions = sum(
        int(np.prod(each.dims))
        for each in onnx.load(str(source)).graph.initializer
        if len(each.dims) == 4
    )
    more = types(partly)[TensorProto.FLOAT] - types(whole)[TensorProto.FLOAT]
    assert more >= 0.9 * convolutions
    assert types(whole)[TensorProto.INT8] - types(partly)[TensorProto.INT8] >= convolutions


def test_weights_have_a_scale_for_each_channel_or_one_for_all(
    source: Path, samples: Any, tmp_path: Path
) -> None:
    scales = {}
    for granularity in ("channel", "tensor"):
        path = tmp_path / f"{granularity}.onnx"
        recipe = Recipe(scheme="int8-static", granularity=granularity)
        quantizer.quantize(source, path, recipe, samples)
        scales[granularity] = {
            tuple(each.dims)
            for each in onnx.load(str(path)).graph.initializer
            if each.name.endswith("_scale") and "4.weight" in each.name
        }
    assert (16,) in scales["channel"]
    assert (16,) not in scales["tensor"]


@pytest.mark.parametrize("is_fast", [True, False])
def test_activations_are_unsigned_where_the_cpu_multiplies_these_fast(
    source: Path, samples: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_fast: bool
) -> None:
    monkeypatch.setattr(quantizer, "has_vnni", lambda: is_fast)
    file = tmp_path / "static.onnx"
    quantizer.quantize(source, file, Recipe(scheme="int8-static"), samples)
    graph = onnx.load(file).graph
    stored = {each.name: each.data_type for each in graph.initializer}
    points = {stored[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"}
    assert points == {TensorProto.UINT8 if is_fast else TensorProto.INT8}


def test_what_is_stored_twice_is_stored_once(source: Path, samples: Any, tmp_path: Path) -> None:
    file = tmp_path / "static.onnx"
    quantizer.quantize(source, file, Recipe(scheme="int8-static"), samples)
    graph = onnx.load(file).graph
    contents = [
        (each.data_type, tuple(each.dims), numpy_helper.to_array(each).tobytes())
        for each in graph.initializer
    ]
    assert len(contents) == len(set(contents))
    used = [name for node in graph.node for name in node.input]
    assert any(used.count(each.name) > 1 for each in graph.initializer)  # there was something


class Twice(torch.nn.Module):
    """A convolution that is applied two times."""

    def __init__(self) -> None:
        super().__init__()
        self.same = torch.nn.Conv2d(1, 1, 3, padding=1)
        self.head = torch.nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.same(self.same(x)).flatten(1))
        return found


def test_weights_of_two_operators_are_stored_once(
    model: LoadedModel, samples: Any, tmp_path: Path
) -> None:
    whole, small = tmp_path / "float.onnx", tmp_path / "small.onnx"
    write_onnx(replace(model, model=Twice().eval()), whole)
    recipe = Recipe(scheme="int8-weight", granularity="group", group_size=32)
    quantizer.quantize(whole, small, recipe, samples)
    graph = onnx.load(small).graph
    counted = Counter(node.op_type for node in graph.node)
    assert (counted["Conv"], counted["DequantizeLinear"]) == (2, 1)
    before, after = (answers(runtime, file, model, samples) for file in (whole, small))
    np.testing.assert_allclose(after, before, atol=0.05)


def test_what_a_library_raises_is_told(source: Path, samples: Any, tmp_path: Path) -> None:
    wrong = samples[:, :, :5]  # an image of another height
    source = Path(shutil.copy(source, tmp_path))  # of which no ranges are known yet
    with pytest.raises(TaskError, match="ONNX Runtime's quantizer can't make int8-static of it"):
        quantizer.quantize(source, tmp_path / "x.onnx", Recipe(scheme="int8-static"), wrong)


def test_a_task_on_a_gpu_is_not_run_on_a_cpu_in_silence(source: Path, model: LoadedModel) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime takes GPUs")
    with pytest.raises(TaskError, match="ONNX Runtime as installed runs on CPUs alone"):
        runtime.open_model(source, model, threads=1, device="cuda:0")


def test_groups_that_no_kernel_has_are_refused(source: Path, samples: Any, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="groups of 16, 32"):
        quantizer.quantize(source, tmp_path / "m.onnx", replace(GROUPED, group_size=48), samples)


def test_the_layers_of_a_file_are_called_as_in_the_model(source: Path) -> None:
    assert quantizer.layers(source) == [
        "0",
        "4",
        "9",
        "11",
    ]


def test_openvino_gives_much_the_same_answers_in_integers(
    model: LoadedModel, source: Path, samples: Any, held_out: Any, tmp_path: Path
) -> None:
    made = tmp_path / "model.xml"
    nncf_quantizer.quantize(source, made, Recipe(scheme="int8-static"), samples[:16])
    ours = answers(openvino_runtime, made, model, held_out)
    assert agreement(ours, expected(model, held_out)) >= 0.97
    weights = made.with_suffix(".bin").stat().st_size
    assert weights <= 0.35 * source.stat().st_size
    nncf_quantizer.quantize(source, made, Recipe(scheme="int8-static", floats=("9",)), samples[:16])
    assert made.with_suffix(".bin").stat().st_size > 1.5 * weights


def test_a_path_may_have_a_comma(source: Path, samples: Any, tmp_path: Path) -> None:
    folder = tmp_path / "a, b"
    folder.mkdir()
    file = Path(shutil.copy(source, folder))
    nncf_quantizer.quantize(file, folder / "x.xml", Recipe(scheme="int8-weight"), samples)
    assert (folder / "x.bin").is_file()


def test_openvino_stores_weights_in_half_a_byte(
    model: LoadedModel, source: Path, samples: Any, held_out: Any, tmp_path: Path
) -> None:
    made = tmp_path / "model.xml"
    nncf_quantizer.quantize(source, made, GROUPED, samples)
    ours = answers(openvino_runtime, made, model, held_out)
    assert agreement(ours, expected(model, held_out)) >= 0.97
    assert made.with_suffix(".bin").stat().st_size <= 0.22 * source.stat().st_size
