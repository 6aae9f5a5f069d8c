"""What a report says of each task beside the table."""

from __future__ import annotations

from typing import Any

import pytest
from digits_run import NODE, STUDENT, TEACHER, finished, planned_task, record

from runner.model import Record
from runner.report.html import to_html
from runner.report.markdown import to_markdown
from runner.report.particulars import figures_beside, particulars
from runner.report.summary import summarise
from runner.report.terminal import to_terminal

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


@pytest.mark.parametrize(
    ("widths", "workers", "text"),
    [
        ({"tp": 2, "pp": 1}, 1, "1 group of 2 workers"),
        ({"tp": 2, "pp": 2}, 2, "2 groups of 4 workers"),
        ({"tp": 1, "pp": 1}, 2, "2 workers"),
    ],
)
def test_workers_that_share_a_portion_are_a_group_as_in_the_plan(
    plan_document: Plan, widths: dict[str, int], workers: int, text: str
) -> None:
    planned = plan_document["tasks"][0]
    planned["task"]["params"]["parallelism"] = widths
    planned["batches"]["num_workers"] = workers
    task = finished(plan_document, {"teacher": TEACHER}).tasks[0]
    assert f" × 1 accumulated × {text};" in dict(particulars(task))["Batches"]


def waited(*, runs: bool = True) -> list[Record]:
    """A teacher that waits 53 s for its place, and fails 0.3 s after it has it."""
    ran = [record(54, "attempt_running", "teacher", 1, node=NODE)] if runs else []
    return [
        record(0, "run_started", run="r", job="j"),
        record(1, "attempt_started", "teacher", 1),
        record(3, "waiting", "teacher", 1, reason="waits for its place"),
        *ran,
        record(54.3, "attempt_ended", "teacher", 1, status="failed", error=None),
        record(54.3, "task_ended", "teacher", status="failed", error=None),
        record(55, "run_ended", status="failed"),
    ]


def test_a_wait_for_a_place_is_no_part_of_how_long_a_task_took(plan_document: Plan) -> None:
    report = summarise(plan_document, waited())
    task = report.tasks[0]
    assert task.duration_s == pytest.approx(0.3)
    assert dict(particulars(task))["Waited"] == "53.0 s for its place"
    markdown = to_markdown(report)
    assert "(train, failed, 0.3 s)" in markdown and "Waited: 53.0 s for its place" in markdown
    page = to_html(report)
    assert "<span>0.3 s</span>" in page and "53.0 s for its place" in page
    assert "53.3 s" not in page + markdown + to_terminal(report)


def test_an_attempt_that_only_waited_took_no_time(plan_document: Plan) -> None:
    never = summarise(plan_document, waited(runs=False)).tasks[0]
    assert never.duration_s == 0
    assert dict(particulars(never))["Waited"] == "53.3 s for its place"
    still = summarise(plan_document, [*waited()[:3], record(40, "heartbeat")]).tasks[0]
    assert still.duration_s == 0
    assert "Waited" not in dict(particulars(still))


def test_each_of_several_attempts_tells_its_wait(
    plan_document: Plan, records: list[Record]
) -> None:
    student = summarise(plan_document, records).tasks[1]
    assert student.duration_s == pytest.approx((7.0 - 5.2) + (12.0 - 8.3))
    first, second = dict(particulars(student))["Attempts"].split("; ")
    assert "waited" not in first
    assert second == "2 finished after 3.7 s on node-1, waited 1.2 s for its place"
