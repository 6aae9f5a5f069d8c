"""The forms of a Keras model as a task keeps them: loaded again, compared, measured, or refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from runner.data.channels import for_keras
from runner.data.described import read_any, size_bytes
from runner.errors import TaskError
from runner.kinds import keras_exports
from runner.kinds.keras_exports import ExportsParams
from runner.model import Artifact, Context, Fact, Metric
from runner.serving.measuring import measure

pytestmark = pytest.mark.usefixtures("litert")
FORMS = ["saved-model", "litert", "litert-int8"]


@pytest.fixture(scope="module")
def litert() -> None:
    pytest.importorskip("ai_edge_litert", reason="needs LiteRT: pip install 'runner[tf]'")


@pytest.fixture(scope="module")
def model(kit: ModuleType) -> Any:
    """A trained mlp, what it is, and its data."""
    data = kit.digits()
    spec = kit.models.ModelSpec(name="mlp", args={"hidden": [32]})
    learnt = kit.train(data, args={"hidden": [32]}, total_steps=60, learning_rate=0.1)
    return learnt.model, spec, data


def keep(kit: ModuleType, folder: Path, model: Any, exports: list[Any]) -> list[Any]:
    trained, spec, data = model
    kit.artifact.save(folder / "model", trained, spec=spec, dataset=data)
    params = ExportsParams(exports=exports)
    context = Context(params=params, folder=folder)
    return list(keras_exports.keep(context, params, trained, spec, data))


@pytest.fixture(scope="module")
def kept(kit: ModuleType, model: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        # What a user's shell may say; TensorFlow is what serves a Keras model here.
        patch.setenv("KERAS_BACKEND", "jax")
        return folder, keep(kit, folder, model, FORMS)


def test_every_form_is_an_artifact_with_the_figures_of_a_model(kept: Any, model: Any) -> None:
    folder, items = kept
    made = [(item.name, item.path) for item in items if isinstance(item, Artifact)]
    assert made == [(name, folder / name) for name in FORMS]
    values = {item.name: item.value for item in items if isinstance(item, Metric)}
    figures = {
        "test/loss", "test/accuracy", "size/model_mb", "size/parameters", "latency/p50_ms",
        "latency/p95_ms", "throughput/samples_per_s", "memory/peak_mb",
    }  # fmt: skip
    trained, _, data = model
    logits = trained(for_keras(data.test_inputs), training=False).numpy()
    right = (logits.argmax(1) == data.test_targets).mean()
    for name in ("keras", *FORMS):
        assert figures <= {each.removeprefix(f"{name}/") for each in values}
        assert values[f"{name}/size/parameters"] == 64 * 32 + 32 + 32 * 10 + 10
        path = folder / ("model" if name == "keras" else name)
        assert values[f"{name}/size/model_mb"] == size_bytes(path) / 1e6
        assert values[f"{name}/test/accuracy"] == pytest.approx(right, abs=0.01)
        assert values[f"{name}/compression/agreement"] >= 0.99
    for name in ("keras", "saved-model", "litert"):
        assert values[f"{name}/compression/largest_difference"] < 1e-4
    assert values["litert-int8/compression/largest_difference"] > 1e-3
    ratio = values["keras/size/model_mb"] / values["litert-int8/size/model_mb"]
    assert values["litert-int8/compression/size_ratio"] == pytest.approx(ratio)
    assert "keras/compression/speedup" not in values
    # Of processes that load no TensorFlow, though the one that starts them has.
    assert values["litert/memory/peak_mb"] < values["keras/memory/peak_mb"] / 2
    (fact,) = [item.text for item in items if isinstance(item, Fact)]
    assert fact.startswith("keras: tensorflow ") and "litert-int8: LiteRT " in fact


def test_what_lies_in_the_folders(kept: Any) -> None:
    folder, _ = kept
    forms = {name: read_any(folder / name) for name in FORMS}
    assert {framework for framework, _ in forms.values()} == {"keras"}
    told = {name: described.form for name, (_, described) in forms.items()}
    assert str(told["litert-int8"]) == "litert int8-static"
    assert told["saved-model"].batch_size is None and told["litert"].batch_size == 1
    assert (folder / "saved-model" / told["saved-model"].file).is_dir()
    assert "edgetpu_compiler" in (folder / "litert-int8" / "compile.sh").read_text()
    assert (folder / "litert-int8" / "README.md").is_file()
    description = json.loads((folder / "litert" / "model.json").read_text())
    assert description["classes"] == [str(digit) for digit in range(10)]


def damage(file: Path) -> None:
    """Turns bytes of the largest weights round, as a broken converter or disk may."""
    from ai_edge_litert import schema_py_generated as schema

    content = bytearray(file.read_bytes())
    held = schema.Model.GetRootAs(bytes(content), 0)
    buffers = [held.Buffers(index).DataAsNumpy() for index in range(held.BuffersLength())]
    weights = max((each for each in buffers if not isinstance(each, int)), key=len).tobytes()
    start = bytes(content).index(weights)
    assert len(weights) >= 64 * 32
    content[start : start + len(weights)] = bytes(255 - byte for byte in weights)
    file.write_bytes(content)


def test_a_form_that_is_not_the_model_is_refused(
    kit: ModuleType, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = keras_exports._put

    def put_badly(folder: Path, **given: Any) -> None:
        put(folder, **given)
        damage(folder / "model.tflite")

    monkeypatch.setattr(keras_exports, "_put", put_badly)
    said = "as litert-int8 is not the one in memory: LiteRT "
    with pytest.raises(TaskError, match=said) as caught:
        keep(kit, tmp_path, model, ["litert-int8"])
    assert caught.value.hint.startswith("leave litert-int8 out of 'exports'")


def test_a_form_in_floats_must_give_what_the_model_does(
    model: Any, kept: Any, tmp_path: Path
) -> None:
    trained, _, data = model
    logits = trained(for_keras(data.test_inputs), training=False).numpy()
    (sound,) = measure([kept[0] / "litert"], data, threads=1)
    keras_exports._check("litert", sound, logits)
    # A little off is too much: these give the right answers still.
    nearly = replace(sound, outputs=sound.outputs * np.float32(1.01))
    with pytest.raises(TaskError, match=r"as litert is not .* the same answer to 100\.0%"):
        keras_exports._check("litert", nearly, logits)


def test_what_tensorflow_can_not_read_is_told(kit: ModuleType, kept: Any, tmp_path: Path) -> None:
    from runner.tflib.saved_model import serving

    folder = tmp_path / "saved_model"
    shutil.copytree(kept[0] / "saved-model" / "saved_model", folder)
    assert serving(folder)[1] == "inputs"
    (values,) = (folder / "variables").glob("*.data-*")
    values.write_bytes(values.read_bytes()[:100])
    with pytest.raises(TaskError, match=r"saved_model can't be read"):
        serving(folder)
    (folder / "saved_model.pb").write_bytes(b"no graph")
    with pytest.raises(TaskError, match=r"saved_model can't be read"):
        serving(folder)


def test_forms_that_can_not_be_had_are_known_before_the_training(
    kit: ModuleType, model: Any
) -> None:
    _, spec, data = model
    before = kit.models.build(spec, data, seed=3).get_weights()
    keras_exports.try_out(ExportsParams(exports=FORMS), spec, data, seed=3)
    after = kit.models.build(spec, data, seed=3).get_weights()
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
    args = {"patch": 4, "dim": 8, "depth": 1, "heads": 2}
    vit = kit.models.ModelSpec(name="vit", args=args)
    keras_exports.try_out(ExportsParams(exports=["saved-model"]), vit, data, seed=0)
    with pytest.raises(TaskError, match="Coral's compiler does not take") as caught:
        keras_exports.try_out(ExportsParams(exports=["litert-int8"]), vit, data, seed=0)
    assert "GELU" in str(caught.value)


@pytest.mark.slow
def test_in_integers_mnist_is_a_third_of_the_size_and_a_point_less_accurate(
    kit: ModuleType, tmp_path: Path
) -> None:
    from runner.data import load

    data = load(name="mnist5k")
    args = {"channels": [16, 32], "hidden": 64}
    learnt = kit.train(
        data, name="convnet", args=args, total_steps=300, optimizer="adamw", learning_rate=2e-3
    )
    spec = kit.models.ModelSpec(name="convnet", args=args)
    items = keep(kit, tmp_path, (learnt.model, spec, data), ["litert", "litert-int8"])
    values = {item.name: item.value for item in items if isinstance(item, Metric)}
    assert values["litert/test/accuracy"] > 0.95
    assert values["litert-int8/size/model_mb"] <= 0.3 * values["litert/size/model_mb"]
    lost = values["litert/test/accuracy"] - values["litert-int8/test/accuracy"]
    assert abs(lost) <= 0.01
