"""A task of kind distill from end to end: several teachers, layers, few labels, answers alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from runner.errors import TaskError
from runner.kinds import find
from runner.model import Artifact, Context, Fact, Metric
from tests.serving.models import as_onnx

pytestmark = pytest.mark.usefixtures("one_thread")

DIGITS = {"name": "digits"}
SMALL: dict[str, Any] = {"name": "convnet", "args": {"channels": [4, 6], "hidden": 8}}
LARGE: dict[str, Any] = {"name": "convnet", "args": {"channels": [8, 12], "hidden": 16}}


class Ran:
    """What came of a task: its metrics, facts, artifacts, and the points of its loss."""

    def __init__(self, kind: str, folder: Path, *, seed: int = 0, **params: Any) -> None:
        found = find(kind)
        given = {"data": DIGITS, "max_epochs": 2, "optimizer": {"learning_rate": 3e-3}, **params}
        context = Context(params=found.params.model_validate(given), folder=folder, seed=seed)
        items = list(found.run(context))
        metrics = [item for item in items if isinstance(item, Metric)]
        self.metrics = {item.name: item.value for item in metrics if item.step is None}
        self.losses = [item.value for item in metrics if item.name == "train/loss"]
        self.facts = {item.name: item.text for item in items if isinstance(item, Fact)}
        self.artifacts = {i.name: str(i.path) for i in items if isinstance(i, Artifact)}

    @property
    def model(self) -> str:
        return self.artifacts["model"]

    def state(self) -> dict[str, torch.Tensor]:
        return load_file(Path(self.model) / "model.safetensors")


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> list[Ran]:
    folder = tmp_path_factory.mktemp("teachers")
    before = torch.get_num_threads()
    made = [Ran("train", folder / str(seed), seed=seed, model=LARGE) for seed in (1, 2)]
    torch.set_num_threads(before)
    return made


def test_a_student_of_layers_is_kept_without_its_projections(
    teachers: list[Ran], tmp_path: Path
) -> None:
    plain = Ran("train", tmp_path / "plain", model=SMALL)
    given: dict[str, Any] = {
        "teacher": teachers[0].model,
        "model": SMALL,
        "features": [{"student": "5", "teacher": "5", "weight": 2.0}],
        "attention": [{"student": "2", "teacher": "2"}],
    }
    taught = Ran("distill", tmp_path / "taught", **given)
    assert taught.state().keys() == plain.state().keys()
    assert taught.metrics["size/parameters"] == plain.metrics["size/parameters"]
    assert taught.metrics["baseline/test/accuracy"] == teachers[0].metrics["test/accuracy"]
    assert taught.losses[-1] < taught.losses[0]
    # What is looked at makes another student, and the seed makes it the same again.
    logits_only = {**given, "features": [], "attention": []}
    other = Ran("distill", tmp_path / "other", **logits_only)
    again = Ran("distill", tmp_path / "again", **given)
    assert not torch.equal(taught.state()["0.weight"], other.state()["0.weight"])
    assert torch.equal(taught.state()["0.weight"], again.state()["0.weight"])


def test_a_layer_that_there_is_not_ends_the_task_before_it_trains(
    teachers: list[Ran], tmp_path: Path
) -> None:
    with pytest.raises(TaskError, match="the student has no layer '50'"):
        Ran(
            "distill",
            tmp_path,
            teacher=teachers[0].model,
            model=SMALL,
            features=[{"student": "50", "teacher": "5"}],
            max_epochs=10**9,
        )


def test_several_teachers_and_one_who_learns_from_their_answers_alone(
    teachers: list[Ran], tmp_path: Path
) -> None:
    given: dict[str, Any] = {"model": SMALL, "temperature": 4.0}
    first = Ran(
        "distill",
        tmp_path / "first",
        teacher=[teacher.model for teacher in teachers],
        teacher_weights=[3.0, 1.0],
        cache_teacher="disk",
        **given,
    )
    assert first.facts["teachers"].startswith("2, whose mean answer is learnt")
    assert first.metrics["baseline/test/accuracy"] == teachers[0].metrics["test/accuracy"]
    answers = np.load(Path(first.artifacts["logits"]) / "log_probabilities.npy")
    assert answers.shape == (1437, 10)
    second = Ran("distill", tmp_path / "second", teacher=first.artifacts["logits"], **given)
    assert all(torch.equal(first.state()[name], value) for name, value in second.state().items())
    # There is no model that it could be compared with.
    assert not any(name.startswith(("baseline/", "compression/")) for name in second.metrics)
    with pytest.raises(TaskError, match="this teacher shows its answers only"):
        Ran(
            "distill",
            tmp_path / "third",
            teacher=first.artifacts["logits"],
            model=SMALL,
            features=[{"student": "5", "teacher": "5"}],
        )


def test_the_teacher_alone_labels_the_rest(teachers: list[Ran], tmp_path: Path) -> None:
    given: dict[str, Any] = {"teacher": teachers[0].model, "model": SMALL}
    few = {**DIGITS, "train_samples": 100}
    alone = Ran("train", tmp_path / "alone", model=SMALL, data=few)
    assert alone.metrics["data/train_samples"] == 100
    assert alone.metrics["data/test_samples"] == 360
    rest = Ran("distill", tmp_path / "rest", data={**few, "unlabelled": "rest"}, **given)
    assert rest.metrics["data/train_samples"] == 1437
    assert rest.facts["labels"].startswith("100 samples have labels; 1,337 others")
    # With none of the labels it learns as much: they play no part in the soft term.
    soft = [
        Ran("distill", tmp_path / f"soft-{n}", alpha=1.0,
            data={**DIGITS, "train_samples": n, "unlabelled": "rest"}, **given)
        for n in (100, 50)
    ]  # fmt: skip
    assert torch.equal(soft[0].state()["0.weight"], soft[1].state()["0.weight"])
    # A student of few labels teaches in its turn, and is measured on what none has seen.
    third = Ran("distill", tmp_path / "third", teacher=rest.model, model=SMALL, data=DIGITS)
    assert third.metrics["baseline/test/accuracy"] == rest.metrics["test/accuracy"]


def test_a_generation_teaches_the_next_of_its_own_shape(
    teachers: list[Ran], tmp_path: Path
) -> None:
    """Born again (Furlanello et al. 2018): the student of a student, each with its own seed."""
    teacher, sizes = teachers[0], []
    for generation in range(2):
        teacher = Ran(
            "distill",
            tmp_path / str(generation),
            seed=generation,
            teacher=teacher.model,
            model=LARGE,
            standardise_logits=True,
        )
        sizes.append(teacher.metrics["compression/size_ratio"])
    assert sizes == [1.0, 1.0]


def test_decoupled_distillation_makes_another_student(teachers: list[Ran], tmp_path: Path) -> None:
    given: dict[str, Any] = {"teacher": teachers[0].model, "model": SMALL}
    plain = Ran("distill", tmp_path / "plain", **given)
    apart = Ran("distill", tmp_path / "apart", decoupled={"alpha": 1.0, "beta": 4.0}, **given)
    assert not torch.equal(plain.state()["0.weight"], apart.state()["0.weight"])
    assert apart.losses[-1] < apart.losses[0]


def test_a_teacher_that_another_runtime_runs(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    mlp = {"name": "mlp", "args": {"hidden": [16]}}
    made = Ran("train", tmp_path / "made", model=mlp)
    as_file = as_onnx(Path(made.model), tmp_path / "onnx")
    given: dict[str, Any] = {"model": {"name": "mlp", "args": {"hidden": [4]}}}
    served = Ran("distill", tmp_path / "served", teacher=str(as_file), **given)
    own = Ran("distill", tmp_path / "own", teacher=made.model, **given)
    assert torch.allclose(served.state()["1.weight"], own.state()["1.weight"], atol=1e-4)
    assert served.metrics["baseline/test/accuracy"] == made.metrics["test/accuracy"]
    assert served.metrics["compression/size_ratio"] > 1.0
    with pytest.raises(TaskError, match="it would have to in every step"):
        Ran("distill", tmp_path / "augmented", teacher=str(as_file), augment={"crop": 1}, **given)
