"""The table sets a model against what it was made from, and the headline says it in a sentence."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from digits_run import STUDENT, TEACHER, planned_task, record, summary

from runner.model import Record
from runner.report.comparison import compare
from runner.report.headline import headline
from runner.report.summary import Report, summarise

Plan = dict[str, Any]


def finished(plan: Plan, metrics: dict[str, dict[str, float]]) -> Report:
    """A run in which every task finished at once and measured that."""
    stream = [record(0, "run_started", run="r", job="j")]
    for name, values in metrics.items():
        stream += [
            record(1, "attempt_started", name, 1),
            record(2, "metrics", name, 1, points=summary(values)),
            record(3, "task_ended", name, status="finished", error=None),
        ]
    plan["tasks"] = [each for each in plan["tasks"] if each["task"]["name"] in metrics]
    return summarise(plan, [*stream, record(4, "run_ended", status="finished")])


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
        "latency p50, batch 1": ("0.0934 ms", "0.0412 ms", "2.3\u00d7 faster"),
        "latency p95, batch 1": ("0.112 ms", "0.0498 ms", "2.3\u00d7 faster"),
        "throughput, batch 64": ("81.2 k/s", "402 k/s", "5.0\u00d7 more"),
    }


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


def test_a_task_that_measured_no_model_has_no_column(plan_document: Plan) -> None:
    table = compare(finished(plan_document, {"teacher": TEACHER, "student": {"rows": 3.0}}))
    assert [column.heading for column in table.columns] == ["teacher"]


def test_a_failed_task_says_so(plan_document: Plan, failed_records: list[Record]) -> None:
    columns = compare(summarise(plan_document, failed_records)).columns
    assert [(each.heading, each.note) for each in columns] == [
        ("teacher", "failed"),
        ("student", "skipped"),
    ]
    assert columns[1].cells == ("–", "–")


def test_nothing_measured_is_no_table(plan_document: Plan) -> None:
    assert compare(summarise(plan_document, [])).columns == ()


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


def test_the_headline_of_a_language_model(plan_document: Plan) -> None:
    report = finished(plan_document, {"teacher": {"test/loss": 1.8312}})
    assert headline(report) == "teacher reached a test loss of 1.8312"


def test_the_headline_of_what_went_wrong(
    plan_document: Plan, records: list[Record], failed_records: list[Record]
) -> None:
    failed = summarise(plan_document, failed_records)
    assert headline(failed) == (
        "teacher failed: ValueError: expected 64 inputs, got 63 (student was skipped)"
    )
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
