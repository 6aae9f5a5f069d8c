"""kind: keras with backend: jax as an attempt, in a process that holds neither other framework."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from runner.errors import TaskError
from runner.kinds import find
from runner.model import CAVEAT, Context
from tests.kinds.keras_attempts import PARAMS, attempt, facts, held, summary

needs_jax = pytest.mark.skipif(
    find_spec("jax") is None or find_spec("keras") is None,
    reason="needs JAX: pip install 'runner[jax]'",
)


@needs_jax
def test_an_attempt_trains_keeps_and_measures_without_tensorflow(tmp_path: Path) -> None:
    params = {
        **PARAMS,
        "backend": "jax",
        "strategy": "tpu",
        "fallback": ["mirrored"],
        "replicas": 2,
        "gradient_accumulation_steps": 2,
        "checkpoint": {"every_steps": 4, "keep": 1},
    }
    records = attempt(tmp_path, "keras", params)
    assert held(tmp_path, "keras") == [""]
    assert "torch" not in records[0].data["environment"]
    told, figures = facts(records), summary(records)
    assert told["jax"].startswith("jax ")
    assert told[CAVEAT].startswith("2 replicas on one CPU and not on a TPU, as no node")
    assert set(figures) == {
        "train/replicas", "train/per_replica_batch_size", "time/first_step_s",
        "train/samples_per_s", "train/step_ms", "data/train_samples", "data/test_samples",
        "test/loss", "test/accuracy", "size/model_mb", "size/parameters", "latency/p50_ms",
        "latency/p95_ms", "throughput/samples_per_s", "memory/peak_mb",
    }  # fmt: skip
    assert figures["test/accuracy"] > 0.8
    assert (figures["train/replicas"], figures["train/per_replica_batch_size"]) == (2, 8)
    kept = [path.name for path in (tmp_path / "of-keras" / "checkpoints").iterdir()]
    assert kept == ["step-00000012"]  # of fifteen
    described = json.loads((tmp_path / "of-keras/model/model.json").read_text())
    assert described["framework"] == "keras"
    assert (tmp_path / "of-keras/model/model.keras").is_file()


@needs_jax
def test_jax_is_asked_for_a_tpu_in_a_process_of_its_own() -> None:
    from runner.tflib.on_jax.probe import probe

    found = probe(limit_s=60)
    assert not found.is_there
    assert found.looked[-1] == "jax.devices('tpu')"
    assert "tpu" in found.said.lower()
    assert str(found.build).startswith("jax ")


def run(tmp_path: Path, **params: Any) -> list[Any]:
    kind = find("keras")
    checked = kind.params.model_validate({**PARAMS, "backend": "jax", **params}, strict=False)
    return list(kind.run(Context(params=checked, folder=tmp_path)))


def test_without_jax_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.metadata import PackageNotFoundError

    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("runner.tflib.on_jax.installed.version", version)
    with pytest.raises(TaskError, match="needs keras for backend: jax") as caught:
        run(tmp_path)
    assert caught.value.hint == "pip install 'runner[jax]', or 'runner[jax-tpu]' on a TPU VM"


def test_a_tpu_that_no_node_offers_fails_the_task_before_jax_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.tflib.on_jax.installed.version", lambda name: "0.10.2")
    monkeypatch.setattr(
        "runner.tflib.on_jax.installed.prepare", lambda **_: pytest.fail("it was loaded")
    )
    with pytest.raises(TaskError, match="there is no TPU: looked for /dev/accel"):
        run(tmp_path, strategy="tpu")
