"""report.json holds what scripts rely on, to the letter."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from digits_run import record

from runner.model import Record
from runner.report.summary import document, summarise, to_json

Plan = dict[str, Any]


def test_the_contract(plan_document: Plan, records: list[Record]) -> None:
    content: Any = json.loads(to_json(summarise(plan_document, records, storage="./runs")))
    assert list(content) == [
        "schema",
        "run",
        "job",
        "status",
        "started",
        "ended",
        "duration_s",
        "environment",
        "cluster",
        "tasks",
        "file",
        "command",
        "spec",
        "storage",
    ]
    assert content["schema"] == 1
    assert content["run"] == "distill-digits-20261122-154501-3f2a"
    assert content["job"] == "distill-digits"
    assert content["status"] == "finished"
    assert content["started"] == "2026-11-22T15:45:01.250Z"
    assert content["ended"] == "2026-11-22T15:45:13.550Z"
    assert content["duration_s"] == 12.3
    assert content["environment"]["ray"] == "2.60.0"
    assert content["cluster"]["nodes"] == ["node-1"]
    assert content["command"] == "runner submit jobs/distill.yaml --set tasks.student.alpha=0.7"
    assert content["spec"]["tasks"]["student"]["temperature"] == 3.0
    assert list(content["tasks"]) == ["teacher", "student"]

    student = content["tasks"]["student"]
    assert set(student) >= {
        "kind",
        "status",
        "attempts",
        "duration_s",
        "placement",
        "metrics",
        "series",
        "artifacts",
        "error",
    }
    assert (student["kind"], student["status"], student["error"]) == ("distill", "finished", None)
    assert student["attempts"] == 2
    assert student["duration_s"] == 5.5  # of both attempts, without their waits
    assert student["metrics"]["test/accuracy"] == 0.9722
    assert student["series"]["train/loss"][0][0] == 10
    assert len(student["series"]["train/loss"]) == 36
    assert set(student["artifacts"]["model"]) == {"path", "bytes", "sha256"}
    assert student["folder"] == "student/2"
    assert [each["status"] for each in student["history"]] == ["lost", "finished"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_a_number_that_is_not_finite_is_null(
    plan_document: Plan, records: list[Record], value: float | None
) -> None:
    points = [["odd", None, value], ["odd/series", 3, value]]
    report = summarise(
        plan_document, [*records[:3], record(3, "metrics", "teacher", 1, points=points)]
    )
    task: Any = json.loads(to_json(report))["tasks"]["teacher"]
    assert task["metrics"]["odd"] is None
    assert task["series"]["odd/series"] == [[3, None]]


def test_whole_numbers_stay_whole(plan_document: Plan, records: list[Record]) -> None:
    text = to_json(summarise(plan_document, records))
    assert '"size/parameters": 2410,' in text


def test_any_prefix_of_the_records_has_a_report(
    plan_document: Plan, records: list[Record], failed_records: list[Record]
) -> None:
    for stream in (records, failed_records):
        for length in range(len(stream) + 1):
            for alive in (True, False):
                report = summarise(plan_document, stream[:length], driver_alive=alive)
                assert set(document(report)["tasks"]) == {"teacher", "student"}  # type: ignore[arg-type]


def test_a_run_that_goes_on_is_as_long_as_its_records(
    plan_document: Plan, records: list[Record]
) -> None:
    report = summarise(plan_document, records[:17])
    assert (report.status, report.ended_s) == ("running", None)
    assert report.duration_s == pytest.approx(9.2)
    assert summarise(plan_document, records[:17], driver_alive=False).status == "lost"


def test_a_failed_task_keeps_its_error(plan_document: Plan, failed_records: list[Record]) -> None:
    teacher, student = summarise(plan_document, failed_records).tasks
    assert teacher.error is not None and teacher.error["type"] == "ValueError"
    assert (student.status, student.attempts, student.duration_s) == ("skipped", (), None)
    assert student.placement["nodes"] == ["node-1"]


def test_words_of_the_command_are_quoted(plan_document: Plan) -> None:
    plan_document["job"]["file"] = "my jobs/a'b.yaml"
    plan_document["job"]["overrides"] = ["name=$(rm -rf x)"]
    command = summarise(plan_document, []).command
    assert command == """runner submit 'my jobs/a'"'"'b.yaml' --set 'name=$(rm -rf x)'"""
