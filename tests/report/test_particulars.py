"""What a report says of each task beside the table."""

from __future__ import annotations

from typing import Any

import pytest
from digits_run import STUDENT, TEACHER, finished, planned_task

from runner.report.particulars import figures_beside, particulars

Plan = dict[str, Any]


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({"train": 1438.0, "test": 359.0}, "trained on 1,438 samples, measured on 359"),
        ({"test": 359.0}, "measured on 359 samples"),
        ({"train": 1438.0}, "trained on 1,438 samples"),
        ({"train": None, "test": 10.0}, "measured on 10 samples"),
        ({}, None),
    ],
)
def test_how_many_samples_a_task_saw(
    plan_document: Plan, counts: dict[str, Any], text: str | None
) -> None:
    samples = {f"data/{split}_samples": count for split, count in counts.items()}
    report = finished(plan_document, {"teacher": TEACHER | samples})
    assert dict(particulars(report.tasks[0])).get("Data") == text
    assert not [name for name, _ in figures_beside(report, report.tasks[0]) if "data/" in name]


def test_what_the_table_leaves_out_of_a_task_stands_beside_it(plan_document: Plan) -> None:
    """The table has the teacher as its student measured it; its own figures are not lost."""
    report = finished(plan_document, {"teacher": TEACHER, "student": STUDENT})
    teacher, student = report.tasks
    assert dict(figures_beside(report, teacher))["latency/p50_ms"] == "0.0934 ms"
    assert "latency/p50_ms" not in dict(figures_beside(report, student))
    alone = finished(plan_document, {"teacher": TEACHER})
    assert "latency/p50_ms" not in dict(figures_beside(alone, alone.tasks[0]))


def test_a_student_that_teaches_is_in_the_table(plan_document: Plan) -> None:
    plan_document["tasks"].append(planned_task("small", "distill", ["student"]))
    baseline = {f"baseline/{name}": value for name, value in STUDENT.items()}
    metrics = {"teacher": TEACHER, "student": STUDENT, "small": STUDENT | baseline}
    report = finished(plan_document, metrics)
    assert "latency/p50_ms" not in dict(figures_beside(report, report.tasks[1]))
