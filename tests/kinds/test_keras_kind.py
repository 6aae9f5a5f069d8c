"""kind: keras as an attempt: what it yields, in a process that holds TensorFlow and no PyTorch."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from runner.errors import TaskError
from runner.kinds import find
from runner.model import CAVEAT, Context, Fact
from tests.conftest import Command
from tests.kinds.keras_attempts import OWN, PARAMS, attempt, facts, held, summary

needs_tensorflow = pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="needs TensorFlow: pip install 'runner[tf]'"
)
needs_litert = pytest.mark.skipif(
    find_spec("ai_edge_litert") is None, reason="needs LiteRT: pip install 'runner[tf]'"
)


@needs_tensorflow
@needs_litert
def test_an_attempt_trains_keeps_and_measures_without_pytorch(tmp_path: Path) -> None:
    params = {
        **PARAMS,
        "strategy": "mirrored",
        "replicas": 2,
        "gradient_accumulation_steps": 2,
        "checkpoint": {"every_steps": 4, "keep": 1},
        "exports": ["litert-int8"],
    }
    records = attempt(tmp_path, "keras", params)
    assert held(tmp_path, "keras") == ["tensorflow"]
    about = records[0].data["environment"]
    assert "torch" not in about
    told, figures = facts(records), summary(records)
    assert told["tensorflow"].startswith("tensorflow")
    assert told["strategy"].startswith("mirrored, as asked for; 2 logical devices share this CPU")
    assert CAVEAT not in told
    assert {name for name in figures if not name.startswith(("keras/", "litert-int8/"))} == {
        "train/replicas", "train/per_replica_batch_size", "time/first_step_s",
        "train/samples_per_s", "train/step_ms", "data/train_samples", "data/test_samples",
        "test/loss", "test/accuracy", "size/model_mb", "size/parameters", "latency/p50_ms",
        "latency/p95_ms", "throughput/samples_per_s", "memory/peak_mb",
    }  # fmt: skip
    assert figures["test/accuracy"] > 0.8
    assert (figures["train/replicas"], figures["train/per_replica_batch_size"]) == (2, 8)
    assert (figures["data/train_samples"], figures["data/test_samples"]) == (150, 50)
    kept = [path.name for path in (tmp_path / "of-keras" / "checkpoints").iterdir()]
    assert kept == ["step-00000012"]  # of fifteen
    artifacts = [r.data["name"] for r in records if r.event == "artifact"]
    assert artifacts == ["model", "litert-int8"]
    assert told["runtimes"].startswith("keras: tensorflow ")
    assert figures["keras/test/accuracy"] == figures["test/accuracy"]
    assert figures["litert-int8/test/accuracy"] > 0.8
    description = json.loads((tmp_path / "of-keras/model/model.json").read_text())
    assert description["framework"] == "keras"
    assert description["classes"] == ["0", "1", "2"]


JOB = """\
name: both
resources: {cpus: 1}
x-same: &same
  model: {name: mlp, args: {hidden: [4]}}
  data: {factory: "own_data:blobs"}
  max_steps: 2
tasks:
  with-torch: {kind: train, <<: *same, env: {HELD: HERE/torch-}}
  with-keras:
    kind: keras
    <<: *same
    strategy: tpu
    fallback: [mirrored, one_device]
    replicas: 2
    resources: {accelerators: tpu:4}
    env: {HELD: HERE/keras-}
"""


@needs_tensorflow
@pytest.mark.timeout(400)
def test_a_fallback_is_planned_run_and_said_first_and_no_process_holds_two_frameworks(
    warm: Command, spec: Callable[[str], str]
) -> None:
    (warm.folder / "own_data.py").write_text(OWN)
    file = spec(JOB.replace("HERE", str(warm.folder)))
    plan = json.loads(warm("plan", file, "--json").out)
    placement = {task["task"]["name"]: task["placement"] for task in plan["tasks"]}["with-keras"]
    assert placement["device"] == "cpu"
    assert placement["reason"].startswith("tpu:4 fits nowhere; cpus:1 fits")
    done = warm("submit", file, timeout_s=300)
    assert done.code == 0, done.err
    (torch,) = {path.read_text() for path in warm.folder.glob("torch-*")}
    (keras,) = {path.read_text() for path in warm.folder.glob("keras-*")}
    assert (torch, keras) == ("torch", "tensorflow")
    told = next(line for line in done.out.splitlines()[1:] if line.strip())
    assert told.startswith("with-keras ran on 2 replicas on one CPU and not on a TPU")
    (page,) = warm.folder.glob("runs/*/report.html")
    assert "and not on a TPU, as no node of the cluster offers one" in page.read_text()


def test_without_a_fallback_a_plan_says_that_no_node_offers_a_tpu(
    warm: Command, spec: Callable[[str], str]
) -> None:
    text = JOB.replace("[mirrored, one_device]", "[]").replace("    replicas: 2\n", "")
    (warm.folder / "own_data.py").write_text(OWN)
    done = warm("submit", spec(text.replace("HERE", str(warm.folder))))
    assert done.code == 3
    assert "asks for tpu:4" in done.err


def run(tmp_path: Path, device: str = "cpu", **params: Any) -> list[Any]:
    kind = find("keras")
    checked = kind.params.model_validate({**PARAMS, **params}, strict=False)
    return list(kind.run(Context(params=checked, folder=tmp_path, device=device)))


def test_without_tensorflow_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.tflib.installed.installed_build", lambda: None)
    with pytest.raises(TaskError, match="needs TensorFlow") as caught:
        run(tmp_path)
    assert caught.value.hint == "pip install 'runner[tf]', or 'runner[tpu]' on a TPU VM"


def test_a_tpu_that_no_node_offers_fails_the_task_before_tensorflow_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.tflib.installed.installed_build", lambda: "tensorflow-cpu 2.21.0")
    monkeypatch.setattr("runner.tflib.installed.prepare", lambda **_: pytest.fail("it was loaded"))
    with pytest.raises(TaskError, match="there is no TPU: looked for /dev/accel"):
        run(tmp_path, strategy="tpu")


def test_what_a_fallback_yields_first_is_that_it_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Loaded(Exception):
        pass

    def load(**settings: Any) -> None:
        assert settings == {
            "threads": 1, "replicas": 1, "skip_metadata": True, "leave_chips": False
        }  # fmt: skip
        raise Loaded

    monkeypatch.setattr("runner.tflib.installed.installed_build", lambda: "tensorflow-cpu 2.21.0")
    monkeypatch.setattr("runner.tflib.installed.prepare", load)
    kind = find("keras")
    params = {**PARAMS, "strategy": "tpu", "fallback": ["one_device"]}
    checked = kind.params.model_validate(params, strict=False)
    items = kind.run(Context(params=checked, folder=tmp_path))
    facts = {}
    with pytest.raises(Loaded):
        for item in items:
            assert isinstance(item, Fact)
            facts[item.name] = item.text
    assert list(facts) == ["tensorflow", "strategy", CAVEAT]
    assert facts["strategy"].startswith("one_device, fallback: no TPU: looked for")
    assert facts[CAVEAT] == "one CPU and not on a TPU, as no node of the cluster offers one"
