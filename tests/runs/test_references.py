"""References to what a task leaves, replaced by where it lies."""

from __future__ import annotations

import pytest

from runner.errors import TaskError
from runner.runs.references import resolve

OUTPUTS = {("teacher", "model"): "/runs/r/teacher/1/model", ("a-b_c", "model"): "/elsewhere"}


def test_references_are_replaced_wherever_they_stand() -> None:
    params = {
        "teacher": "${tasks.teacher.outputs.model}",
        "deep": {"list": ["${tasks.a-b_c.outputs.model}", 1, None], "flag": True},
        "pair": (0.9, "${tasks.teacher.outputs.model}"),
    }
    assert resolve(params, OUTPUTS) == {
        "teacher": "/runs/r/teacher/1/model",
        "deep": {"list": ["/elsewhere", 1, None], "flag": True},
        "pair": [0.9, "/runs/r/teacher/1/model"],
    }
    assert params["teacher"] == "${tasks.teacher.outputs.model}"  # the plan's own is left alone


@pytest.mark.parametrize(
    "value", ["", "digits", "a ${tasks.x.outputs.y} b", "$tasks", 3, 2.5, None, False]
)
def test_all_else_stays_as_it_is(value: object) -> None:
    resolved = resolve({"key": value}, OUTPUTS)["key"]
    assert resolved == value
    assert type(resolved) is type(value)


@pytest.mark.parametrize(
    "reference", ["${tasks.teacher.outputs.log}", "${tasks.other.outputs.model}"]
)
def test_what_was_not_left_is_an_error_that_names_both(reference: str) -> None:
    task, output = reference[8:-1].split(".outputs.")
    with pytest.raises(TaskError, match=f"'{task}' finished without leaving its output '{output}'"):
        resolve([{"model": reference}], OUTPUTS)
