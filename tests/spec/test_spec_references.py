"""References between tasks: where they may stand, what they name, cycles."""

from __future__ import annotations

import time

import pytest
from refusing import A_REFERENCE, STUDENT, TASK, refused

from runner.spec import load

REFERENCES = {
    "${tasks.aa.outputs.model}": "no task is called 'aa'; did you mean 'a'?",
    "${tasks.a.outputs.modle}": (
        "the task 'a' (kind train) has no output 'modle'; did you mean 'model'?"
    ),
    "${tasks.b.outputs.model}": "the task 'b' waits for itself; expected another task",
    "${tasks.a.output.model}": (
        "the reference '${tasks.a.output.model}'; expected ${tasks.NAME.outputs.NAME}"
    ),
    "${tasks.}": "the reference '${tasks.}'; expected ${tasks.NAME.outputs.NAME}",
    "x-${tasks.a.outputs.model}": (
        "a reference among other text; expected it to be the whole value"
    ),
    "${Tasks.a.outputs.model}": (
        "nothing is called 'Tasks.a.outputs.model'; expected ${env:NAME} or "
        "${tasks.NAME.outputs.NAME}"
    ),
    "${tasks.a.outputs.model": (
        "'${' without '}'; expected ${env:NAME} or ${tasks.NAME.outputs.NAME}"
    ),
}


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_wrong_reference_is_one_fault(reference: str) -> None:
    text = TASK + STUDENT.format(teacher=reference)
    assert refused(text) == [f"10:14: {REFERENCES[reference]}"]


KIND_TAKES = "a reference to a task's output can't stand here; the kind {} takes one in {} only"
FOR_TRAIN = KIND_TAKES.format("train", "args")
FOR_DISTILL = KIND_TAKES.format("distill", "'teacher' and args")


@pytest.mark.parametrize(
    ("line", "column", "fault"),
    [
        (f"data: {{path: '{A_REFERENCE}'}}", 18, FOR_DISTILL),
        (f"model: {A_REFERENCE}", 12, FOR_DISTILL),
        (f"model: {{name: '{A_REFERENCE}'}}", 19, FOR_DISTILL),
        (f"alpha: {A_REFERENCE}", 12, FOR_DISTILL),
        ("alpha: ${tasks.nobody.outputs.model}", 12, FOR_DISTILL),
    ],
)
def test_a_reference_where_a_kind_takes_none_is_one_fault(
    line: str, column: int, fault: str
) -> None:
    student = STUDENT.format(teacher="folder")
    kept = [each for each in student.splitlines(True) if line.split(":")[0] not in each]
    text = TASK + "".join(kept) + f"    {line}\n"
    assert refused(text) == [f"{8 + len(kept)}:{column}: {fault}"]


def test_a_task_of_a_kind_that_builds_on_nothing_takes_no_reference_but_in_args() -> None:
    again = "  b:\n    kind: train\n    model: {}\n    data: {{name: digits}}\n    max_epochs: 1\n"
    assert refused(TASK + again.format(A_REFERENCE)) == [f"10:12: {FOR_TRAIN}"]
    given = "{factory: 'mine:make', args: {start: '" + A_REFERENCE + "', deep: [['x']]}}"
    [a, b] = load((TASK + again.format(given)).encode(), file="x", environment={}).tasks
    assert (a.depends_on, b.depends_on) == ((), ("a",))


def test_what_depends_on_names_twice_is_a_fault_and_naming_a_reference_too_is_none() -> None:
    text = TASK + STUDENT.format(teacher=A_REFERENCE)
    assert refused(text + "    depends_on: [a]\n") == []
    assert refused(text + "    depends_on: [a, c, a]\n") == [
        "14:21: no task is called 'c'; expected one of a, b",
        "14:24: depends_on names 'a' twice; expected it once",
    ]


def test_an_output_of_a_kind_that_has_none() -> None:
    check = "  {}:\n    kind: evaluate\n    model: {}\n    data: {{name: digits}}\n"
    text = TASK + check.format("b", A_REFERENCE) + check.format("c", "${tasks.b.outputs.model}")
    assert refused(text) == [
        "14:12: the task 'b' (kind evaluate) has no output 'model'; it has none"
    ]


def test_a_reference_is_a_dependency_and_so_is_depends_on() -> None:
    text = (
        TASK + STUDENT.format(teacher=A_REFERENCE) + STUDENT.replace("b:", "c:").format(teacher="x")
    )
    job = load((text + "    depends_on: [b, a]\n").encode(), file="x", environment={})
    assert {task.name: task.depends_on for task in job.tasks} == {
        "a": (), "b": ("a",), "c": ("b", "a")}  # fmt: skip


def test_a_cycle_is_one_fault_at_the_reference_that_closes_it() -> None:
    text = TASK + "    depends_on: [b]\n" + STUDENT.format(teacher=A_REFERENCE)
    assert refused(text) == [
        "11:14: tasks that wait for each other: a needs b needs a; expected an order in which "
        "they can start"
    ]


def chain(count: int, *, closed: bool) -> str:
    first = f"[t{count - 1}]" if closed else "[]"
    task = "  t{}: {{kind: train, model: {{name: mlp}}, data: {{name: digits}}, max_epochs: 1, "
    task += "depends_on: {}}}\n"
    return "name: x\ntasks:\n" + "".join(
        task.format(i, f"[t{i - 1}]" if i else first) for i in range(count)
    )


def test_a_long_chain_is_checked_in_no_time() -> None:
    began = time.process_time()
    assert refused(chain(2000, closed=False)) == []
    [fault] = refused(chain(2000, closed=True))
    assert "t0 needs t1999 needs t1998 needs t1997 needs ... needs t3" in fault
    assert time.process_time() - began < 8.0
