"""A Keras model's folder: measured as it lies there, refused where it is not what it should be."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from runner.data.channels import for_keras
from runner.errors import TaskError


@pytest.fixture(scope="module")
def saved(kit: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A trained mlp on the digits, its folder and its data."""
    folder = tmp_path_factory.mktemp("keras") / "model"
    data = kit.digits()
    trained = kit.train(data, args={"hidden": [16]}, total_steps=40, learning_rate=0.1)
    spec = kit.models.ModelSpec(name="mlp", args={"hidden": [16]})
    kit.artifact.save(folder, trained.model, spec=spec, dataset=data)
    return folder, data, trained


def test_figures_are_of_the_model_as_read_back(kit: ModuleType, saved: Any) -> None:
    folder, data, trained = saved
    metrics = {m.name: m.value for m in kit.measure.measure_artifact(folder, data, device="/cpu:0")}
    logits = trained.model(for_keras(data.test_inputs)).numpy().astype(np.float64)
    shifted = logits - logits.max(1, keepdims=True)
    chances = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    rows = np.arange(len(logits))
    assert metrics["test/loss"] == pytest.approx(-chances[rows, data.test_targets].mean(), rel=1e-5)
    right = (logits.argmax(1) == data.test_targets).mean()
    assert metrics["test/accuracy"] == pytest.approx(right, abs=1e-9)
    assert metrics["size/parameters"] == 64 * 16 + 16 + 16 * 10 + 10
    files = [path.stat().st_size for path in folder.iterdir()]
    assert len(files) == 2
    assert metrics["size/model_mb"] == sum(files) / 1e6
    assert metrics["data/train_samples"] == 1437
    assert metrics["data/test_samples"] == 360
    assert 0 < metrics["latency/p50_ms"] <= metrics["latency/p95_ms"]
    assert metrics["throughput/samples_per_s"] > 0
    assert 100 < metrics["memory/peak_mb"] < 100_000


def test_the_names_are_those_of_pytorchs_models(
    kit: ModuleType, saved: Any, tmp_path: Path
) -> None:
    from runner.data.models import ModelSpec
    from runner.torchlib import artifact
    from runner.torchlib.data import load
    from runner.torchlib.measure import measure_artifact
    from runner.torchlib.models import build

    data = load(name="digits")
    spec = ModelSpec(name="mlp", args={"hidden": [16]})
    model = build(name="mlp", args=spec.args, input_shape=data.input_shape, num_classes=10)
    artifact.save(tmp_path / "model", model, spec=spec, dataset=data)
    theirs = measure_artifact(tmp_path / "model", data, threads=1, device="cpu")
    ours = kit.measure.measure_artifact(saved[0], saved[1], device="/cpu:0")
    assert [metric.name for metric in ours] == [metric.name for metric in theirs]
    values = {metric.name: metric.value for metric in theirs}
    for metric in ours:
        if metric.name.startswith("data/") or metric.name == "size/parameters":
            assert metric.value == values[metric.name]
    with pytest.raises(TaskError, match="describes a model of PyTorch"):
        kit.artifact.load(_with(tmp_path / "model", "model.keras"))
    with pytest.raises(TaskError, match="a Keras model"):
        artifact.load(saved[0])


def _with(folder: Path, name: str) -> Path:
    (folder / name).touch()
    return folder


def test_a_model_is_not_measured_on_what_it_was_trained_on(kit: ModuleType, saved: Any) -> None:
    from runner.data import load

    with pytest.raises(TaskError, match="would be"):
        kit.measure.measure_artifact(
            saved[0], load(name="digits", test_fraction=0.5), device="/cpu:0"
        )
    with pytest.raises(TaskError, match="input shape"):
        kit.measure.measure_artifact(saved[0], kit.small(classes=10, samples=80), device="/cpu:0")


def test_a_folder_that_can_not_be_read_is_named(
    kit: ModuleType, saved: Any, tmp_path: Path
) -> None:
    import shutil

    with pytest.raises(TaskError, match=r"there is no .*model\.json"):
        kit.artifact.load(tmp_path / "none")
    folder = tmp_path / "model"
    shutil.copytree(saved[0], folder)
    (folder / "model.keras").write_bytes(b"not a model")
    with pytest.raises(TaskError, match=r"model\.keras can't be read"):
        kit.artifact.load(folder)
    (folder / "model.keras").unlink()
    with pytest.raises(TaskError, match=r"there is no .*model\.keras"):
        kit.artifact.load(folder)
    description = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**description, "schema": 7}))
    with pytest.raises(TaskError, match="has schema 7"):
        kit.artifact.load(folder)
