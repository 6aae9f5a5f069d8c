"""A teacher's answers: several teachers, the most probable classes only, and kept on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training import make_model, series, train, weights

from runner.data.labels import UNLABELLED
from runner.data.models import ModelSpec
from runner.errors import TaskError
from runner.torchlib import artifact, kept_answers
from runner.torchlib.answers import Store
from runner.torchlib.data import Dataset
from runner.torchlib.distillation import Distillation, make_objective
from runner.torchlib.objectives import CrossEntropy
from runner.torchlib.soft_losses import Decoupled, divergence, soften
from runner.torchlib.teachers import Teacher, find


def serve(folder: Path) -> Any:
    raise AssertionError("nothing here is of another runtime")


def kept_model(folder: Path, data: Dataset, name: str, seed: int, **args: Any) -> Teacher:
    model = make_model(data, name, seed=seed, **args)
    train(model, data, max_steps=15)
    artifact.save(folder, model, spec=ModelSpec(name=name, args=args), dataset=data)
    return find(folder, serve)


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory, digits: Dataset) -> list[Teacher]:
    folder = tmp_path_factory.mktemp("teachers")
    return [
        kept_model(folder / "one", digits, "mlp", 1, hidden=[32]),
        kept_model(folder / "two", digits, "mlp", 2, hidden=[16]),
    ]


def learnt(data: Dataset, objective: Distillation, name: str = "mlp", **args: Any) -> Tensor:
    student = make_model(data, name, **(args or {"hidden": [8]}))
    events = train(student, data, max_steps=15, objective=objective, batch=32)
    assert series(events, "train/loss")
    return weights(student)


def models(teachers: list[Teacher]) -> list[nn.Module]:
    return [teacher.model.model for teacher in teachers if teacher.model is not None]


make = partial(make_objective, temperature=3.0, alpha=0.7)


def test_several_teachers_are_asked_in_every_step_or_once(
    digits: Dataset, teachers: list[Teacher], tmp_path: Path
) -> None:
    given: dict[str, Any] = {"weights": [2.0, 1.0]}
    objectives = [
        make(teachers, digits, cache="never", **given),
        make(teachers, digits, cache="always", **given),
        make(teachers, digits, cache="disk", store=Store(tmp_path / "logits"), **given),
    ]
    assert [len(each.columns) for each in objectives] == [0, 1, 1]
    rows = slice(0, 40)
    logits = make_model(digits, hidden=[8])(digits.train_inputs[rows])
    inputs, targets = digits.train_inputs[rows], digits.train_targets[rows]
    losses = [
        each(logits, inputs, targets, tuple(column[rows] for column in each.columns)).item()
        for each in objectives
    ]
    # By hand: the KL to the weighted mean of their probabilities.
    one, two = (soften(model(inputs).detach(), 3.0).exp() for model in models(teachers))
    mean = ((2 * one + two) / 3).log()
    soft = divergence(soften(logits, 3.0), (mean,)).item()
    hard = CrossEntropy()(logits, inputs, targets, ()).item()
    assert losses == pytest.approx([0.7 * 9 * soft + 0.3 * hard] * 3, rel=1e-4)
    trained = [learnt(digits, each) for each in objectives]
    assert torch.allclose(trained[0], trained[1], atol=1e-4)
    assert torch.equal(trained[1], trained[2])
    alone = learnt(digits, make(teachers[:1], digits))
    assert not torch.allclose(trained[1], alone, atol=1e-2)


def test_answers_on_disk_are_by_the_number_of_the_sample(
    digits: Dataset, teachers: list[Teacher], tmp_path: Path
) -> None:
    store = Store(tmp_path / "logits")
    objective = make(teachers[:1], digits, cache="disk", store=store)
    assert objective.kept_in == tmp_path / "logits"
    on_disk = np.load(tmp_path / "logits" / "logits.npy")
    with torch.no_grad():
        expected = models(teachers)[0](digits.train_inputs)
    assert np.allclose(on_disk, expected.numpy(), atol=1e-5)
    in_memory = make(teachers[:1], digits, cache="always")
    assert torch.equal(learnt(digits, objective), learnt(digits, in_memory))


class Counting(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.seen = model, 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen += len(inputs)
        logits: Tensor = self.model(inputs)
        return logits


def counting(teacher: Teacher) -> tuple[Teacher, Counting]:
    assert teacher.model is not None
    counted = Counting(teacher.model.model)
    return replace(teacher, model=replace(teacher.model, model=counted)), counted


def test_a_later_attempt_finds_the_answers_of_an_earlier_one(
    digits: Dataset, teachers: list[Teacher], tmp_path: Path
) -> None:
    make(teachers[:1], digits, cache="disk", store=Store(tmp_path / "1"))
    teacher, counted = counting(teachers[0])
    again = Store(tmp_path / "2", earlier=(tmp_path / "1",))
    objective = make([teacher], digits, cache="disk", store=again)
    assert objective.kept_in == tmp_path / "1"
    assert counted.seen == 0
    # Not those of other samples, of another teacher, or softened in another way.
    fewer = replace(digits, train_inputs=digits.train_inputs[:100],
                    train_targets=digits.train_targets[:100])  # fmt: skip
    for index, (who, data, more) in enumerate(
        [([teacher], fewer, {}), (teachers[1:], digits, {}), ([teacher], digits, {"top_k": 2})]
    ):
        folder = tmp_path / f"other-{index}"
        store = Store(folder, earlier=(tmp_path / "1",))
        assert make(who, data, cache="disk", store=store, **more).kept_in == folder
    assert counted.seen == 100 + 1 + 1437 + 1  # and one each to learn shapes


def test_another_student_learns_from_answers_alone(
    digits: Dataset, teachers: list[Teacher], tmp_path: Path
) -> None:
    make(teachers[:1], digits, cache="disk", store=Store(tmp_path / "logits"))
    kept = find(tmp_path / "logits", serve)
    assert kept.model is None
    assert make([kept], digits, cache="disk", store=Store(tmp_path / "2")).kept_in == kept.folder
    ours = make([kept], digits, decoupled=Decoupled())
    theirs = make(teachers[:1], digits, decoupled=Decoupled())
    assert torch.equal(learnt(digits, ours), learnt(digits, theirs))
    both = make([kept, teachers[1]], digits)
    assert torch.equal(learnt(digits, both), learnt(digits, make(teachers, digits)))
    with pytest.raises(TaskError, match="answers once for each sample"):
        make([kept], digits, cache="never")


def test_answers_to_other_samples_are_refused(
    digits: Dataset, teachers: list[Teacher], tmp_path: Path
) -> None:
    make(teachers[:1], digits, cache="disk", store=Store(tmp_path / "logits"))
    turned = replace(digits, train_inputs=digits.train_inputs.flip(0),
                     train_targets=digits.train_targets.flip(0))  # fmt: skip
    with pytest.raises(TaskError, match="are to other samples than those to train on"):
        make([find(tmp_path / "logits", serve)], turned)


def test_a_broken_folder_is_named(digits: Dataset, teachers: list[Teacher], tmp_path: Path) -> None:
    make(teachers[:1], digits, cache="disk", store=Store(tmp_path / "logits"))
    file = tmp_path / "logits" / "answers.json"
    about = json.loads(file.read_text())
    file.write_text(json.dumps({**about, "schema": 2}))
    with pytest.raises(TaskError, match="has schema 2, not 1"):
        find(tmp_path / "logits", serve)
    file.write_text("{")
    with pytest.raises(TaskError, match="holds no answers of a teacher that can be read"):
        find(tmp_path / "logits", serve)
    file.write_text(json.dumps(about))
    (tmp_path / "logits" / "logits.npy").write_bytes(b"")
    with pytest.raises(TaskError, match="holds no answers of a teacher that can be read"):
        find(tmp_path / "logits", serve)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory, text: Dataset) -> Teacher:
    folder = tmp_path_factory.mktemp("writer") / "model"
    return kept_model(folder, text, "gpt", 1, dim=32, depth=1, heads=2)


def test_of_a_text_the_top_k_take_a_fraction_and_teach_nearly_the_same(
    text: Dataset, writer: Teacher, tmp_path: Path
) -> None:
    small: dict[str, Any] = {"dim": 16, "depth": 1, "heads": 2}
    whole = make([writer], text, cache="always")
    store = Store(tmp_path / "logits")
    top = make([writer], text, cache="disk", top_k=16, store=store)
    classes, logs = top.columns
    assert (classes.dtype, classes.shape[1:]) == (torch.uint8, (32, 16))
    assert logs.shape[1:] == (32, 17)
    bytes_kept = sum(column.numel() * column.element_size() for column in top.columns)
    assert bytes_kept < whole.columns[0].numel() * 4 / 10
    rows = slice(0, 8)
    logits = make_model(text, "gpt", **small)(text.train_inputs[rows])
    losses = [
        each(logits, text.train_inputs[rows], text.train_targets[rows].long(),
             tuple(column[rows] for column in each.columns)).item()
        for each in (whole, top)
    ]  # fmt: skip
    # Less than the whole divergence, by what is told apart among the others.
    assert losses[1] <= losses[0]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
    every = make([writer], text, top_k=255)
    assert torch.allclose(
        learnt(text, whole, "gpt", **small), learnt(text, every, "gpt", **small), atol=1e-3
    )
    # And from the folder, with the same settings only.
    kept = find(tmp_path / "logits", serve)
    again = make([kept], text, top_k=16)
    assert torch.equal(learnt(text, top, "gpt", **small), learnt(text, again, "gpt", **small))
    for other in ({"top_k": 8}, {"top_k": 16, "temperature": 2.0}, {}):
        with pytest.raises(TaskError, match="were kept with temperature 3"):
            make([kept], text, **other)
    with pytest.raises(TaskError, match="can't be put together with others"):
        make([kept, writer], text)


def test_what_is_too_much_for_memory_is_asked_for_anew_but_the_top_k_go_to_disk(
    text: Dataset, writer: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, targets = "runner.torchlib.distillation.CACHE_LIMIT_BYTES", text.train_targets.numel()
    monkeypatch.setattr(limit, targets * (16 + 17 * 4))
    store = Store(tmp_path / "logits")
    assert make([writer], text, store=store).columns == ()
    small = make([writer], text, top_k=16, store=store)
    assert (len(small.columns), small.kept_in) == (2, None)
    monkeypatch.setattr(limit, targets * (16 + 17 * 4) - 1)
    assert make([writer], text, top_k=16, store=store).kept_in == store.folder


def test_a_sample_without_a_label_has_the_soft_term_alone(
    digits: Dataset, teachers: list[Teacher]
) -> None:
    inputs = digits.train_inputs[:10]
    logits, answers = (
        make_model(digits, hidden=[8], seed=seed)(inputs).detach() for seed in (0, 1)
    )
    targets = digits.train_targets[:10].clone()
    targets[4:] = UNLABELLED
    objective = Distillation(temperature=2.0, alpha=0.6, label_smoothing=0.1)
    loss = objective(logits, inputs, targets, (answers,))
    soft = divergence(soften(logits, 2.0), (soften(answers, 2.0),))
    hard = CrossEntropy(label_smoothing=0.1)(logits[:4], inputs[:4], targets[:4], ())
    assert loss.item() == pytest.approx((0.6 * 4 * soft + 0.4 * hard).item(), rel=1e-5)
    none = objective(logits[4:], inputs[4:], targets[4:], (answers[4:],))
    assert none.isfinite()


def test_standardised_logits_are_those_of_both_models(digits: Dataset) -> None:
    inputs, targets = digits.train_inputs[:10], digits.train_targets[:10]
    logits, answers = (
        make_model(digits, hidden=[8], seed=seed)(inputs).detach() for seed in (0, 1)
    )
    objective = Distillation(temperature=2.0, alpha=1.0, is_standardised=True)
    loss = objective(logits, inputs, targets, (answers,))
    expected = divergence(
        soften(logits, 2.0, is_standardised=True),
        (soften(5.0 * answers + 1.0, 2.0, is_standardised=True),),
    )
    assert loss.item() == pytest.approx(4.0 * expected.item(), rel=1e-4)


def test_a_teacher_that_another_process_runs(
    digits: Dataset, teachers: list[Teacher], tmp_path: Path
) -> None:
    """As for another runtime: the model of PyTorch, served by a fresh process."""
    from runner.serving.server import Server

    served = replace(teachers[0], model=None, serve=partial(Server, threads=1))
    fewer = replace(digits, train_inputs=digits.train_inputs[:300],
                    train_targets=digits.train_targets[:300])  # fmt: skip
    ours = make([served], fewer, cache="disk", store=Store(tmp_path / "logits"))
    theirs = make(teachers[:1], fewer)
    assert torch.allclose(ours.columns[0], theirs.columns[0], atol=1e-5)
    assert kept_answers.is_one(tmp_path / "logits")
    with pytest.raises(TaskError, match="it would have to in every step"):
        make([served], fewer, cache="never")
