"""What keeps figures from being what was asked for stands first, wherever the report is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from digits_run import finished

from runner.model import CAVEAT
from runner.report.headline import headline
from runner.report.html import to_html
from runner.report.summary import Report

NOT_A_TPU = "one CPU and not on a TPU, as no node of the cluster offers one"


def told(plan: dict[str, Any], *texts: str) -> Report:
    """A finished run of a teacher and a student, of which some say something of themselves."""
    report = finished(plan, {"teacher": {"test/accuracy": 0.9}, "student": {"test/accuracy": 0.8}})
    tasks = list(report.tasks)
    for number, text in enumerate(texts):
        environment = {**tasks[number].environment, CAVEAT: text}
        tasks[number] = replace(tasks[number], environment=environment)
    return replace(report, tasks=tuple(tasks))


def test_a_run_that_was_not_where_it_should_be_says_so_first(plan_document: dict[str, Any]) -> None:
    plain = headline(told(plan_document))
    assert headline(told(plan_document, NOT_A_TPU)) == f"teacher ran on {NOT_A_TPU}: {plain}"


def test_tasks_that_say_the_same_say_it_once(plan_document: dict[str, Any]) -> None:
    assert headline(told(plan_document, NOT_A_TPU, NOT_A_TPU)).startswith(
        f"teacher and student ran on {NOT_A_TPU}: "
    )
    assert headline(told(plan_document, NOT_A_TPU, "two")).startswith(
        f"teacher ran on {NOT_A_TPU}; student ran on two: "
    )


def test_what_a_library_said_is_cut_and_escaped(plan_document: dict[str, Any]) -> None:
    report = told(plan_document, "one CPU, as <b>it</b>\nsaid " + "so " * 200)
    line = headline(report)
    assert "\n" not in line
    assert len(line) < 300
    assert "<b>it</b>" not in to_html(report)
