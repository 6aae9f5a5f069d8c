"""A model that a factory brings with its weights: measured, kept, and changed by other kinds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from runner.errors import GateMissed, TaskError
from runner.kinds import find, gates
from runner.kinds.evaluate import EvaluateParams
from runner.model import Artifact, Context, Fact, Metric

pytestmark = pytest.mark.usefixtures("one_thread")

# Both models are as somebody trained them: the first takes raw values, the second numbers of words.
THEIRS = """\
import numpy as np
import torch
from torch import nn

class Brightest(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(3))
    def forward(self, x):
        return torch.where(x.amax(1, keepdim=True) > 50, 1.0, -1.0) * (x @ self.weight)

class Encoder(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(100, width)
        self.body = nn.Sequential(nn.Linear(width, 256), nn.ReLU(), nn.Linear(256, width))
    def forward(self, words):
        return self.body(self.words(words).mean(1))

class Crooked(Encoder):
    def forward(self, words):
        return self.words(words)

def brightest():
    return Brightest()

def encoder():
    return Encoder()

def narrow():
    return nn.Linear(2, 3)

def crooked():
    return Crooked()

def values():
    x = np.random.default_rng(0).uniform(0, 100, size=(60, 3)).astype("float32")
    x[:, 0] = 99.0
    x[np.arange(60), np.arange(60) % 3] = 100.0
    y = x.argmax(1)
    return x[:40], y[:40], x[40:], y[40:]

def words():
    w = np.random.default_rng(0).integers(0, 100, size=(80, 6))
    return w[:40], w[40:]

def uneven():
    w = np.random.default_rng(0).integers(0, 100, size=(80, 6))
    return w[:40], w[40:, :5]
"""
VALUES, WORDS = {"factory": "theirs:values"}, {"factory": "theirs:words"}
Ran = Callable[..., "Done"]


class Done:
    """What a task yielded."""

    def __init__(self, items: list[Any]) -> None:
        self.metrics = {each.name: each.value for each in items if isinstance(each, Metric)}
        self.facts = {each.name: each.text for each in items if isinstance(each, Fact)}
        self.made = {each.name: each.path for each in items if isinstance(each, Artifact)}


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """Runs a task of a kind where the models above can be imported."""
    (tmp_path / "theirs.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)

    def run(kind: str, **params: Any) -> Done:
        found = find(kind)
        checked: Any = found.params.model_validate(params)
        folder = tmp_path / f"{kind}-{len(list(tmp_path.iterdir()))}"
        items = found.run(Context(params=checked, folder=folder))
        return Done(list(gates.through(items, getattr(checked, "gates", None))))

    return run


@pytest.fixture
def encoder(ran: Ran) -> str:
    """The folder of the model that gives embeddings."""
    return str(ran("evaluate", model={"factory": "theirs:encoder"}, data=WORDS).made["model"])


def test_a_model_gets_samples_as_they_are_and_becomes_one_that_other_tasks_take(ran: Ran) -> None:
    taken = ran("evaluate", model={"factory": "theirs:brightest"}, data=VALUES)
    assert taken.metrics["test/accuracy"] == 1.0  # and a third of it of standardised values
    assert taken.metrics["data/test_samples"] == 20
    assert "data/train_samples" not in taken.metrics  # nobody here knows
    described = json.loads((taken.made["model"] / "model.json").read_text())
    assert described["model"]["factory"] == "theirs:brightest"
    assert described["preprocessing"] == {"mean": [0.0] * 3, "std": [1.0] * 3}
    again = ran("evaluate", model=str(taken.made["model"]), data=VALUES)
    assert again.made == {}
    assert again.metrics["test/loss"] == taken.metrics["test/loss"]
    exported = ran("export", model=str(taken.made["model"]), data=VALUES, formats=["onnx"])
    assert exported.metrics["onnx/test/accuracy"] == 1.0


def test_what_is_not_trained_is_refused_and_only_a_factorys_model_is_an_output() -> None:
    with pytest.raises(ValidationError, match="a built-in mlp has no trained weights to measure"):
        EvaluateParams.model_validate({"model": {"name": "mlp"}, "data": {"name": "digits"}})
    made = find("evaluate").outputs_of
    assert made({"model": {"factory": "theirs:encoder"}}) == ("model",)
    assert made({"model": "somewhere"}) == ()


def test_embeddings_have_no_accuracy_and_are_kept_by_their_cosine(ran: Ran, encoder: str) -> None:
    taken = ran("evaluate", model=encoder, data=WORDS)
    assert {"size/parameters", "latency/p50_ms", "data/test_samples"} < set(taken.metrics)
    assert not {"test/accuracy", "test/loss"} & set(taken.metrics)
    made = ran(
        "quantize", model=encoder, data=WORDS, runtime="onnx",
        min_cosine=0.99, gates={"cosine": 0.99, "size_ratio": 1.5},
    )  # fmt: skip
    tried = {name.split("/")[1] for name in made.metrics if name.startswith("tried/")}
    # What keeps embeddings best is tried, too.
    assert tried == {"onnx-int8-static", "onnx-int8-dynamic", "onnx-int8-weight"}
    assert 0.99 <= made.metrics["compression/cosine"] < 1.0
    assert 0.9 < made.metrics["tried/onnx-int8-weight/compression/cosine"] < 1.0
    assert not {"compression/accuracy_drop", "test/accuracy"} & set(made.metrics)


def test_layers_go_back_to_float_until_the_cosine_is_reached(ran: Ran, encoder: str) -> None:
    settings = {"model": encoder, "data": WORDS, "scheme": "int8-static", "runtime": "onnx"}
    cosine = ran("quantize", **settings, min_cosine=0.9).metrics["compression/cosine"]
    closer = ran("quantize", **settings, min_cosine=cosine + (1.0 - cosine) * 0.3)
    assert closer.facts["stayed in float"].startswith("1: ")
    assert closer.metrics["compression/cosine"] > cosine
    with pytest.raises(TaskError, match=r"comes to a cosine of 0\.\d+, and min_cosine is 1,"):
        ran("quantize", **settings, min_cosine=1.0)
    with pytest.raises(GateMissed, match=r"gate cosine: .* where at least 1 is asked for"):
        ran("quantize", **settings, min_cosine=0.9, gates={"cosine": 1.0})


def test_embeddings_are_the_same_as_another_runtime_gives_them(ran: Ran, encoder: str) -> None:
    made = ran("export", model=encoder, data=WORDS, formats=["onnx", "openvino"])
    for name in ("onnx", "openvino"):
        assert made.metrics[f"{name}/compression/cosine"] == pytest.approx(1.0)
        assert made.metrics[f"{name}/compression/largest_difference"] < 1e-4
    fused = ran("fuse", model=encoder, data=WORDS, compiler="onnxruntime")
    assert fused.metrics["compression/cosine"] == pytest.approx(1.0)


def test_a_limit_that_means_nothing_here_is_refused(ran: Ran, encoder: str) -> None:
    with pytest.raises(TaskError, match="'max_accuracy_drop' is of models whose answers are right"):
        ran("quantize", model=encoder, data=WORDS, max_accuracy_drop=0.1)
    taken = ran("evaluate", model={"factory": "theirs:brightest"}, data=VALUES)
    with pytest.raises(TaskError, match="'min_cosine' is of models that give embeddings"):
        ran("quantize", model=str(taken.made["model"]), data=VALUES, min_cosine=0.9)


@pytest.mark.parametrize(
    ("kind", "params", "gates", "hint"),
    [
        ("evaluate", {}, {"accuracy": 0.9}, "leave it out of 'gates'"),
        ("evaluate", {"model": {"factory": "theirs:encoder"}}, {"accuracy": 0.9}, "leave it out"),
        ("quantize", {}, {"accuracy_drop": 0.1, "size_ratio": 2.0}, "; 'cosine' says how close"),
        ("export", {"formats": ["onnx"]}, {"accuracy": 0.9, "accuracy_drop": 0.1}, "; 'cosine'"),
        ("fuse", {"compiler": "onnxruntime"}, {"accuracy": 0.9}, "; 'cosine' says"),
    ],
)
def test_gates_that_need_labels_are_refused_before_anything_is_made(
    ran: Ran, encoder: str, kind: str, params: dict[str, Any], gates: dict[str, float], hint: str
) -> None:
    before = set(Path.cwd().rglob("model.*"))
    first = next(iter(gates))
    with pytest.raises(TaskError, match=f"gate {first} .*this data has no labels") as refused:
        ran(kind, **{"model": encoder, "data": WORDS, "gates": gates, **params})
    assert hint in refused.value.hint
    assert set(Path.cwd().rglob("model.*")) == before
    assert not list(Path.cwd().rglob(".tried-*"))


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        ("prune", {"method": "magnitude", "sparsity": 0.5}, "this task needs|kind prune needs"),
        ("quantize", {"scheme": "int8-qat", "max_steps": 2}, "scheme int8-qat needs to know"),
    ],
)
def test_what_needs_labels_says_so(
    ran: Ran, encoder: str, kind: str, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(TaskError, match=message):
        ran(kind, model=encoder, data=WORDS, **params)


def test_data_without_labels_is_refused_where_they_are_needed(ran: Ran, encoder: str) -> None:
    with pytest.raises(TaskError, match="samples without labels, and this task needs") as refused:
        ran("train", model={"name": "mlp"}, data=WORDS, max_epochs=1)
    assert "(x_train, y_train, x_test, y_test)" in str(refused.value.hint)
    with pytest.raises(TaskError, match="made for embedding, and this data is for class"):
        ran("evaluate", model=encoder, data={"name": "digits"})
    with pytest.raises(TaskError, match=r"shape \(6,\) a sample, and x_test int64 of shape \(5,\)"):
        ran("evaluate", model={"factory": "theirs:encoder"}, data={"factory": "theirs:uneven"})
    with pytest.raises(TaskError, match=r"samples have shape \(3,\), of float32, and with 2 of"):
        ran("evaluate", model={"factory": "theirs:narrow"}, data=VALUES)
    with pytest.raises(TaskError, match=r"gave shape \(2, 6, 64\) for 2 samples without labels"):
        ran("evaluate", model={"factory": "theirs:crooked"}, data=WORDS)
