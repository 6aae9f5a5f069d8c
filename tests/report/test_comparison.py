"""The table sets a model against what it was made from, and the headline says it in a sentence."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from digits_run import STUDENT, TEACHER, finished, planned_task, record

from runner.model import Record
from runner.report.appendix import definitions
from runner.report.comparison import CAPTION, compare
from runner.report.headline import headline
from runner.report.particulars import figures_beside, particulars
from runner.report.summary import summarise

Plan = dict[str, Any]


def test_teacher_student_and_the_change(plan_document: Plan, records: list[Record]) -> None:
    table = compare(summarise(plan_document, records))
    assert [column.heading for column in table.columns] == [
        "teacher",
        "student",
        "student vs teacher",
    ]
    rows = {
        label: tuple(column.cells[index] for column in table.columns)
        for index, label in enumerate(table.labels)
    }
    assert rows == {
        "test accuracy": ("98.1 %", "97.2 %", "\u22120.8 points"),
        "test loss": ("0.0841", "0.1032", "+0.0191"),
        "parameters": ("301 k", "2.41 k", "125\u00d7 smaller"),
        "model on disk": ("1.20 MB", "0.0103 MB", "117\u00d7 smaller"),
        "latency p50, batch 1": ("0.0951 ms", "0.0412 ms", "2.3\u00d7 faster"),
        "latency p95, batch 1": ("0.116 ms", "0.0498 ms", "2.3\u00d7 faster"),
        "throughput, batched": ("80.1 k/s", "402 k/s", "5.0\u00d7 more"),
    }
    assert (table.title, table.caption) == ("Comparison", CAPTION)


def test_a_teacher_from_outside_has_a_column_of_its_own(plan_document: Plan) -> None:
    plan_document["tasks"][1]["task"]["depends_on"] = []
    report = finished(plan_document, {"student": STUDENT})
    columns = compare(report).columns
    assert [column.role for column in columns] == ["baseline", "model", "change"]
    assert columns[0].cells[0] == "98.1 %"
    assert "than its original" in headline(report)


def test_tasks_without_a_baseline_are_columns_and_no_more(plan_document: Plan) -> None:
    table = compare(finished(plan_document, {"teacher": TEACHER, "student": TEACHER}))
    assert [column.heading for column in table.columns] == ["teacher", "student"]
    assert {column.role for column in table.columns} == {"model"}


def test_scores_on_other_data_are_told_apart(plan_document: Plan) -> None:
    def table(rows: float) -> list[tuple[str, ...]]:
        measured = {
            "teacher": {**TEACHER, "data/test_samples": 360.0},
            "student": {**TEACHER, "data/test_samples": rows},
        }
        found = compare(finished(plan_document, measured))
        return [(label, *(column.cells[row] for column in found.columns))
                for row, label in enumerate(found.labels)]  # fmt: skip

    assert table(700.0)[0] == ("held-out samples", "360", "700")
    assert table(360.0)[0][0] == "test accuracy"


def test_a_task_that_measured_no_model_has_no_column(plan_document: Plan) -> None:
    table = compare(finished(plan_document, {"teacher": TEACHER, "student": {"rows": 3.0}}))
    assert [column.heading for column in table.columns] == ["teacher"]


def test_one_model_is_not_called_a_comparison(plan_document: Plan) -> None:
    two = compare(finished(plan_document, {"teacher": TEACHER, "student": TEACHER}))
    assert two.title == "Comparison"
    one = compare(finished(plan_document, {"teacher": TEACHER}))
    assert (one.title, one.caption) == ("Measurements", "")


def test_the_same_baseline_beside_two_students(plan_document: Plan) -> None:
    plan_document["tasks"].append(planned_task("small", "distill", ["teacher"]))
    small = STUDENT | {"baseline/latency/p50_ms": 0.2}
    metrics = {"teacher": TEACHER, "student": STUDENT, "small": small}
    table = compare(finished(plan_document, metrics))
    assert [(each.heading, each.role, each.note) for each in table.columns] == [
        ("teacher", "baseline", "beside student"),
        ("student", "model", ""),
        ("student vs teacher", "change", ""),
        ("teacher", "baseline", "beside small"),
        ("small", "model", ""),
        ("small vs teacher", "change", ""),
    ]
    assert [len(group) for group in table.groups] == [3, 3]
    row = table.labels.index("latency p50, batch 1")
    assert [each.cells[row] for each in table.columns][::3] == ["0.0951 ms", "0.200 ms"]


def test_a_student_that_teaches_keeps_its_column(plan_document: Plan) -> None:
    plan_document["tasks"].append(planned_task("small", "distill", ["student"]))
    baseline = {f"baseline/{name}": value for name, value in STUDENT.items() if "/" in name}
    metrics = {"teacher": TEACHER, "student": STUDENT, "small": STUDENT | baseline}
    headings = [each.heading for each in compare(finished(plan_document, metrics)).columns]
    assert headings == [
        "teacher", "student", "student vs teacher", "student", "small", "small vs student",
    ]  # fmt: skip


@pytest.mark.parametrize("status", ["cancelled", "lost", "failed", "timed_out"])
def test_what_was_not_finished_has_no_figures(
    plan_document: Plan, records: list[Record], status: str
) -> None:
    """An epoch's evaluation is of a model in memory: the table holds none of it."""
    stream = [
        *records[:-6],
        record(11, "attempt_ended", "student", 2, status=status, error=None),
        record(11, "task_ended", "student", status=status, error=None),
        record(12, "run_ended", status="failed"),
    ]
    report = summarise(plan_document, stream)
    student = report.tasks[1]
    assert student.series["test/accuracy"]
    assert not {"test/accuracy", "test/loss"} & set(student.metrics)
    assert [column.heading for column in compare(report).columns] == ["teacher"]
    shown = dict(particulars(student))["Last evaluation"]
    assert shown.startswith("test/loss 0.") and "at step 360, of the model then in memory" in shown
    assert not {"test/accuracy", "test/loss"} & dict(figures_beside(report, student)).keys()
    assert "Last evaluation" not in dict(particulars(report.tasks[0]))


@pytest.mark.parametrize(
    ("size", "speed", "drop", "sentence"),
    [
        (18.2, 2.3, 0.006, "student is 18.2x smaller and 2.3x faster than teacher, and 0.6 points "
         "less accurate"),
        (18.2, 2.3, -0.01, "student is 18.2x smaller and 2.3x faster than teacher, and 1.0 point "
         "more accurate"),
        (4.0, 0.5, 0.0, "student is 4.0x smaller and 2.0x slower than teacher, and just as "
         "accurate"),
        (4.0, 1.01, 0.02, "student is 4.0x smaller than teacher, about as fast, and 2.0 points "
         "less accurate"),
        (1.0, 1.0, 0.0, "compared to teacher, student is about as large, about as fast, and just "
         "as accurate"),
    ],
)  # fmt: skip
def test_the_headline_of_a_compression(
    plan_document: Plan, size: float, speed: float, drop: float, sentence: str
) -> None:
    compression = {
        "compression/size_ratio": size,
        "compression/speedup": speed,
        "compression/accuracy_drop": drop,
    }
    report = finished(plan_document, {"teacher": TEACHER, "student": STUDENT | compression})
    assert headline(report).replace("\u00d7", "x") == sentence


def test_the_headline_of_trainings(plan_document: Plan) -> None:
    plan_document["tasks"].append(planned_task("check", "evaluate", ["student"]))
    better = TEACHER | {"test/accuracy": 0.99}
    measured_again = {"test/accuracy": 0.99, "size/parameters": 301066}
    report = finished(
        plan_document, {"teacher": TEACHER, "student": better, "check": measured_again}
    )
    sentence = "student reached 99.0 % test accuracy with 301 k parameters, the best of 2"
    assert headline(report) == sentence


def test_the_headline_without_an_accuracy(plan_document: Plan) -> None:
    report = finished(plan_document, {"teacher": {"test/loss": 1.8312}})
    assert headline(report) == "teacher reached a test loss of 1.8312"


@pytest.mark.parametrize(
    ("params", "is_text"),
    [
        ({"model": {"name": "gpt"}, "data": {"path": "corpus"}}, True),
        ({"model": {"name": None, "factory": "m:f"}, "data": {"name": "stdlib"}}, True),
        ({"model": {"factory": "m:f"}, "data": {"path": "a", "format": "text"}}, True),
        ({"model": {"factory": "m:f"}, "data": {"path": "a/b.TXT", "format": None}}, True),
        ({"model": {"factory": "m:f"}, "data": {"path": "b.txt", "format": "csv"}}, False),
        ({"model": {"name": "mlp"}, "data": {"name": "digits"}}, False),
        ({}, False),
    ],
)
def test_the_accuracy_of_a_language_model_is_that_of_the_next_byte(
    plan_document: Plan, params: dict[str, Any], is_text: bool
) -> None:
    plan_document["tasks"][0]["task"]["params"] = params
    check = planned_task("check", "evaluate", ["teacher"])
    check["task"]["params"] = {
        "model": "${tasks.teacher.outputs.model}",
        "data": {"path": "corpus"},
    }
    plan_document["tasks"].append(check)
    words = "next-byte accuracy" if is_text else "test accuracy"
    report = finished(plan_document, {"teacher": TEACHER, "check": {"test/accuracy": 0.9}})
    assert headline(report) == f"teacher reached 98.1 % {words} with 301 k parameters"
    assert compare(report).labels[0] == words
    terms = dict(definitions(report))
    assert ("Next-byte accuracy" in terms, "Test accuracy" in terms) == (is_text, not is_text)
    mixed = finished(plan_document, {"teacher": TEACHER})
    other = dataclasses.replace(mixed.tasks[0], name="other", planned={"params": {}})
    both = dataclasses.replace(mixed, tasks=(*mixed.tasks, other))
    assert compare(both).labels[0] == "test accuracy"


def test_the_headline_of_what_went_wrong(
    plan_document: Plan, records: list[Record], failed_records: list[Record]
) -> None:
    failed = summarise(plan_document, failed_records)
    assert headline(failed) == (
        "teacher failed: ValueError: expected 64 inputs, got 63 (student was skipped)"
    )
    alike = record(2.9, "task_ended", "student", status="failed", error=None)
    both = summarise(plan_document, [*failed_records[:-2], alike])
    assert headline(both) == (
        "teacher failed: ValueError: expected 64 inputs, got 63 (student failed too)"
    )
    plan_document["tasks"] += [planned_task(name, "train", []) for name in ("a", "b")]
    others = [
        record(2.85, "task_ended", "a", status="failed", error=None),
        record(2.86, "task_ended", "b", status="timed_out", error=None),
    ]
    assert headline(summarise(plan_document, [*failed_records, *others])).endswith(
        "got 63 (2 other tasks went wrong too; student was skipped)"
    )
    plan_document["tasks"] = plan_document["tasks"][:2]
    dead = summarise(plan_document, records[:17], driver_alive=False)
    assert headline(dead) == (
        "Lost: the driver of the run went away after 9.2 s, 1 of 2 tasks finished"
    )
    cancelled = [*records[:4], record(3.2, "run_ended", status="cancelled")]
    assert headline(summarise(plan_document, cancelled)) == (
        "Cancelled after 3.2 s: 0 of 2 tasks finished"
    )
    error = {"type": "Lost", "message": "the worker was killed by signal 9", "frames": []}
    gone = [
        *records[:13],
        record(8, "attempt_ended", "student", 2, status="lost", error=error),
        record(8, "task_ended", "student", status="lost", error=error),
        record(8, "run_ended", status="failed"),
    ]
    assert headline(summarise(plan_document, gone)) == (
        "student was lost after 2 attempts: the worker was killed by signal 9"
    )


def test_the_headline_while_it_runs(plan_document: Plan, records: list[Record]) -> None:
    report = summarise(plan_document, records[:17])
    assert headline(report) == "Still running: 1 of 2 tasks finished"
    assert headline(dataclasses.replace(report, status="pending")).startswith("The run pending")
