"""Every kind says what it is, what it takes, and how to begin."""

from __future__ import annotations

import pytest

from runner.kinds import KINDS, find
from runner.kinds.describe import parameters
from runner.model import Job
from runner.spec import load
from runner.spec.shape import CommonSpec


def starter(kind: str) -> Job:
    return load(find(kind).starter.encode(), file="job.yaml", environment={})


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_what_the_table_calls_it(kind: str) -> None:
    found = find(kind)
    assert found.name == kind
    assert found.summary.endswith(".") and "\n" not in found.summary
    assert set(found.devices) <= {"cpu", "gpu", "tpu", "npu", "npu-*"} and found.devices


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_says_what_it_means(kind: str) -> None:
    rows = [*parameters(find(kind).params), *parameters(CommonSpec)]
    assert [row.name for row in rows if not row.description] == []
    assert [row.name for row in rows if not row.type or "[" in row.type or "." in row.type] == []
    assert len({row.name for row in rows}) == len(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_the_starter_is_right_and_has_a_task_of_the_kind(kind: str) -> None:
    assert kind in {task.kind for task in starter(kind).tasks}
    assert find(kind).starter.startswith("# ")


def test_parameters_say_their_types_and_defaults_in_words() -> None:
    rows = {row.name: row for row in parameters(find("distill").params)}
    assert (rows["max_epochs"].type, rows["max_epochs"].default_text) == (
        "whole number",
        "optional",
    )
    assert rows["optimizer.name"].type == "adamw | adam | sgd | adafactor | muon"
    assert rows["optimizer.betas"].default_text == "default [0.9, 0.999]"
    assert rows["teacher"].default_text == "required"
    assert rows["model"].type == "map"
    assert rows["parallelism.strategy"].default_text == "default auto"
    assert (rows["checkpoint"].type, rows["checkpoint"].default_text) == ("map", "optional")
    assert rows["checkpoint.every_steps"].default_text == "required"
    workers = {row.name: row for row in parameters(CommonSpec)}
    assert workers["resources.num_workers"].type == "whole number or map"
    assert workers["resources.num_workers.min"].type == "whole number"
