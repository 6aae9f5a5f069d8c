"""Distillation and evaluation of Keras models as attempts, in processes that hold no PyTorch."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from runner.errors import TaskError
from runner.kinds import find
from runner.model import Context
from tests.kinds.keras_attempts import attempt, held, summary

needs_tensorflow = pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="needs TensorFlow: pip install 'runner[tf]'"
)
TEACHER = {
    "model": {"name": "mlp", "args": {"hidden": [16]}},
    "data": {"factory": "own_data:blobs"},
    "max_epochs": 4,
    "global_batch_size": 30,
    "optimizer": {"learning_rate": 0.05},
}


@needs_tensorflow
@pytest.mark.timeout(300)
def test_a_student_of_keras_is_measured_beside_its_teacher_and_evaluated_apart(
    tmp_path: Path,
) -> None:
    attempt(tmp_path, "keras", TEACHER)
    student = {
        **TEACHER,
        "framework": "keras",
        "strategy": "mirrored",
        "replicas": 2,
        "teacher": str(tmp_path / "of-keras/model"),
        "model": {"name": "mlp", "args": {"hidden": [4]}},
        "checkpoint": {"every_steps": 8, "keep": 1},
    }
    records = attempt(tmp_path, "distill", student)
    assert set(held(tmp_path, "distill")) == {"tensorflow"}
    assert "torch" not in records[0].data["environment"]
    found = summary(records)
    measured = {
        "test/loss", "test/accuracy", "size/model_mb", "size/parameters", "latency/p50_ms",
        "latency/p95_ms", "throughput/samples_per_s",
    }  # fmt: skip
    assert {name for name in found if name.startswith("baseline/")} == {
        f"baseline/{name}" for name in measured
    }
    assert (found["baseline/size/parameters"], found["size/parameters"]) == (131, 35)
    assert found["compression/size_ratio"] == pytest.approx(
        found["baseline/size/model_mb"] / found["size/model_mb"]
    )
    assert found["compression/accuracy_drop"] == pytest.approx(
        found["baseline/test/accuracy"] - found["test/accuracy"]
    )
    assert found["train/replicas"] == 2
    assert found["test/accuracy"] > 0.7
    assert (tmp_path / "of-distill/checkpoints").exists()

    made = str(tmp_path / "of-distill/model")
    again = attempt(tmp_path, "evaluate", {"model": made, "data": {"factory": "own_data:blobs"}})
    checked = summary(again)
    assert measured <= set(checked)
    for name in ("test/accuracy", "size/model_mb", "size/parameters", "data/test_samples"):
        assert checked[name] == found[name]
    assert checked["test/loss"] == pytest.approx(found["test/loss"], abs=1e-5)
    facts = {r.data["name"]: r.data["text"] for r in again if r.event == "fact"}
    assert facts["runtime"].startswith("tensorflow")


@pytest.fixture
def of_keras(tmp_path: Path) -> Callable[[], list[Any]]:
    """Evaluates what says that it is a Keras model."""
    folder = tmp_path / "model"
    folder.mkdir()
    described = {
        "schema": 1, "framework": "keras", "model": {"name": "mlp", "factory": None, "args": {}},
        "task": "classification", "input": {"shape": [8, 8, 1], "dtype": "float32"},
        "classes": ["a"], "preprocessing": {},
        "trained_on": {"samples": "", "train": "", "test": "", "train_samples": 1,
                       "test_samples": 1},
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(described))

    def evaluate(device: str = "cpu") -> list[Any]:
        kind = find("evaluate")
        params = {"model": str(folder), "data": {"name": "digits"}}
        checked = kind.params.model_validate(params, strict=False)
        return list(kind.run(Context(params=checked, folder=tmp_path, device=device)))

    return evaluate


def test_without_tensorflow_it_is_said_what_a_keras_model_needs(
    of_keras: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.tflib.installed.installed_build", lambda: None)
    with pytest.raises(TaskError, match="needs TensorFlow") as caught:
        of_keras()
    assert "pip install 'runner[tf]'" in caught.value.hint


def test_a_keras_model_is_not_measured_on_a_gpu(
    of_keras: Callable[[str], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.tflib.installed.installed_build", lambda: "tensorflow 2.21.0")
    with pytest.raises(TaskError, match="measured on a CPU"):
        of_keras("cuda:0")
