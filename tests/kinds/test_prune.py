"""kind: prune from its parameters to its artifact and figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.data.models import ModelSpec
from runner.errors import SpecError, TaskError
from runner.kinds import find
from runner.model import Artifact, Context, Fact, Metric
from runner.spec import load
from runner.torchlib import artifact, data
from runner.torchlib.models import build

pytestmark = pytest.mark.usefixtures("one_thread")

DIGITS = {"name": "digits"}
ARGS = {"channels": [8, 16], "hidden": 32}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a convnet that knows digits."""
    folder = tmp_path_factory.mktemp("trained")
    torch.set_num_threads(1)
    Task("train", folder, model={"name": "convnet", "args": ARGS}, data=DIGITS, max_epochs=4)
    return str(folder / "model")


class Task:
    """What a task yields in all."""

    def __init__(self, kind: str, folder: Path, **params: Any) -> None:
        found = find(kind)
        context = Context(params=found.params.model_validate(params), folder=folder)
        self.metrics: dict[str, float] = {}
        self.facts: dict[str, str] = {}
        self.series: dict[str, list[float]] = {}
        for item in found.run(context):
            if isinstance(item, Metric) and item.step is None:
                self.metrics[item.name] = item.value
            elif isinstance(item, Metric):
                self.series.setdefault(item.name, []).append(item.value)
            elif isinstance(item, Fact):
                self.facts[item.name] = item.text
            elif isinstance(item, Artifact):
                self.model = item.path


def test_channels_are_removed_and_figures_are_those_of_the_files(
    tmp_path: Path, model: str
) -> None:
    done = Task("prune", tmp_path, model=model, data=DIGITS, round_to=4, max_epochs=4)
    found = done.metrics
    assert found["size/parameters"] < 0.27 * found["baseline/size/parameters"]
    assert found["size/multiply_adds"] < 0.27 * found["baseline/size/multiply_adds"]
    assert found["size/zeros"] == found["baseline/size/zeros"] == 0
    assert found["baseline/test/accuracy"] > 0.9
    assert found["test/accuracy"] > 0.9
    drop = found["baseline/test/accuracy"] - found["test/accuracy"]
    assert found["compression/accuracy_drop"] == pytest.approx(drop)
    for name in ("size_ratio", "speedup", "throughput_ratio", "agreement"):
        assert found[f"compression/{name}"] > 0
    assert "compression/gzip_ratio" not in found
    before = sum(file.stat().st_size for file in Path(model).iterdir())
    after = sum(file.stat().st_size for file in done.model.iterdir())
    assert found["compression/size_ratio"] == pytest.approx(before / after)
    described = json.loads((done.model / "model.json").read_text())
    assert described["model"]["args"] == ARGS
    assert described["pruned"]["0"] == {"out_channels": 4}
    assert described["pruned"]["3"] == {"in_channels": 4, "out_channels": 8}
    assert done.facts["not pruned"] == "10 (its outputs are the model's)"
    assert done.facts["pruning"].startswith("removed: 0 from 8 to 4 channels, 3 from 16 to 8")
    assert "the model fine-tuned" in done.facts["pruning kept"]
    assert found["tried/one-shot/test/accuracy"] < found["tried/tuned/test/accuracy"]
    again = Task("evaluate", tmp_path, model=str(done.model), data=DIGITS)
    assert again.metrics["test/loss"] == pytest.approx(found["test/loss"], rel=1e-5)


def test_the_model_as_it_was_pruned_is_kept_where_tuning_hurts(tmp_path: Path, model: str) -> None:
    harm = {"name": "sgd", "learning_rate": 5.0}
    done = Task(
        "prune", tmp_path, model=model, data=DIGITS, method="magnitude", sparsity=0.2,
        max_steps=3, optimizer=harm, max_grad_norm=1.0,
    )  # fmt: skip
    found = done.metrics
    assert found["tried/one-shot/test/accuracy"] > found["tried/tuned/test/accuracy"]
    assert found["test/accuracy"] == pytest.approx(found["tried/one-shot/test/accuracy"])
    assert done.facts["pruning kept"].startswith("the model as it was pruned at once")


@pytest.mark.parametrize(
    "params",
    [
        {"method": "magnitude", "sparsity": 0.9, "max_epochs": 3, "schedule": "gradual"},
        {"method": "2:4", "ignore": ["0"], "max_epochs": 1},
    ],
    ids=["gradual", "2:4"],
)
def test_zeros_claim_bytes_once_compressed_and_nothing_else(
    tmp_path: Path, model: str, params: dict[str, Any]
) -> None:
    done = Task("prune", tmp_path, model=model, data=DIGITS, **params)
    found = done.metrics
    assert found["size/parameters"] == found["baseline/size/parameters"]
    assert found["size/multiply_adds"] == found["baseline/size/multiply_adds"]
    part = params.get("sparsity", 0.5)
    assert found["size/zeros"] > 0.95 * part * found["size/parameters"]
    assert found["compression/gzip_ratio"] > 1.4
    assert found["compression/size_ratio"] == pytest.approx(1.0, abs=0.01)
    ratios = {"compression/speedup", "compression/throughput_ratio", "baseline/latency/p50_ms"}
    assert not ratios & set(found)
    assert done.facts["zeros"].startswith("save nothing by themselves")
    assert ("sparse tensor cores" in done.facts["zeros"]) == (params["method"] == "2:4")
    assert found["test/accuracy"] > 0.8
    assert artifact.load(done.model).pruned == {}


def test_taylor_gradually_with_a_teacher(tmp_path: Path, model: str) -> None:
    done = Task(
        "prune", tmp_path, model=model, data=DIGITS, method="taylor", schedule="gradual",
        round_to=4, max_epochs=4, teacher=model, temperature=2.0, alpha=0.5,
    )  # fmt: skip
    assert done.metrics["size/parameters"] < 0.27 * done.metrics["baseline/size/parameters"]
    assert done.metrics["tried/tuned/test/accuracy"] > 0.9
    # What is removed at the end was at zero by then: the last evaluation saw the same model.
    assert done.series["test/accuracy"][-1] == pytest.approx(
        done.metrics["tried/tuned/test/accuracy"]
    )


def test_a_model_is_pruned_again_and_teaches(tmp_path: Path, model: str) -> None:
    once = Task("prune", tmp_path / "1", model=model, data=DIGITS, round_to=4)
    twice = Task(
        "prune", tmp_path / "2", model=str(once.model), data=DIGITS, round_to=2, ignore=["0"]
    )
    assert artifact.load(twice.model).pruned["3"] == {"in_channels": 4, "out_channels": 4}
    assert twice.metrics["baseline/size/parameters"] == once.metrics["size/parameters"]
    assert twice.facts["not pruned"] == "10 (its outputs are the model's); 0 (named in 'ignore')"
    student = Task(
        "distill", tmp_path / "3", model={"name": "mlp", "args": {"hidden": [4]}}, data=DIGITS,
        teacher=str(twice.model), max_steps=2,
    )  # fmt: skip
    found = student.metrics["baseline/size/parameters"]
    assert found == twice.metrics["size/parameters"]


def test_a_text_model_loses_heads(tmp_path: Path) -> None:
    source = {"name": "stdlib", "args": {"bytes": 20_000}}
    dataset = data.load(name="stdlib", args={"bytes": 20_000}, block_size=32)
    args = {"dim": 16, "depth": 1, "heads": 4}
    made = build(name="gpt", args=args, input_shape=dataset.input_shape, num_classes=256)
    artifact.save(tmp_path / "gpt", made, spec=ModelSpec(name="gpt", args=args), dataset=dataset)
    done = Task("prune", tmp_path, model=str(tmp_path / "gpt"), data=source, max_steps=2)
    kept = artifact.load(done.model).pruned
    assert kept["blocks.0.attention.qkv"] == {"out_features": 24}
    assert kept["blocks.0.up"] == {"out_features": 32}
    assert done.metrics["size/parameters"] < done.metrics["baseline/size/parameters"]


def test_what_does_not_divide_is_said_before_data_is_read(tmp_path: Path, model: str) -> None:
    nowhere = {"path": str(tmp_path / "nowhere.csv")}
    with pytest.raises(TaskError, match="don't divide by four: 0 has 1") as caught:
        Task("prune", tmp_path, model=model, data=nowhere, method="2:4")
    assert "ignore: ['0']" in caught.value.hint


def test_data_the_model_has_seen_is_refused(tmp_path: Path, model: str) -> None:
    with pytest.raises(TaskError, match=r"with test_fraction: 0\.4"):
        Task("prune", tmp_path, model=model, data={**DIGITS, "test_fraction": 0.4})


SPEC = """\
name: job
tasks:
  keras:
    kind: keras
    model: {name: mlp}
    data: {name: digits}
    max_epochs: 1
  model:
    kind: train
    model: {name: mlp}
    data: {name: digits}
    max_epochs: 1
  task:
    kind: prune
    data: {name: digits}
"""
OURS = "    model: ${tasks.model.outputs.model}\n"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("schedule: gradual", "prunes during a training; expected max_epochs or max_steps"),
        ("method: 2:4\n    sparsity: 0.7", "expected no 'sparsity'"),
        ("method: 2:4\n    schedule: gradual\n    max_steps: 1", "expected no 'schedule: gradual'"),
        ("scope: layer", "'scope' goes with method: magnitude"),
        ("method: magnitude\n    round_to: 8", "'round_to' goes with method: structured"),
        ("method: magnitude\n    gates: {speedup: 2.0}", "zeros save no time"),
        ("max_steps: 1\n    alpha: 0.5", "'alpha' goes with a teacher"),
        ("optimizer: {name: sgd}", "'optimizer' goes with max_epochs or max_steps"),
        ("max_steps: 1\n    max_epochs: 1", "expected at most one of"),
        ("max_steps: 1\n    precision: fp8", "precision fp8 changes layers"),
        ("sparsity: 1.0", "less than 1"),
    ],
)
def test_what_a_spec_can_not_ask_for(lines: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(f"{SPEC}{OURS}    {lines}\n".encode(), file="job.yaml", environment={})
    assert said in str(caught.value)


def test_a_model_of_keras_is_no_model_to_prune() -> None:
    theirs = OURS.replace("tasks.model", "tasks.keras")
    with pytest.raises(SpecError, match="'model' is made by a task of Keras"):
        load(f"{SPEC}{theirs}".encode(), file="job.yaml", environment={})


def test_a_right_spec_is_taken() -> None:
    lines = "    method: taylor\n    teacher: ${tasks.model.outputs.model}\n    max_steps: 3\n"
    job = load(f"{SPEC}{OURS}{lines}".encode(), file="job.yaml", environment={})
    assert job.tasks[-1].depends_on == ("model",)
