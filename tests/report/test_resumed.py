"""A run that was resumed: the night that it lay still is no part of how long anything took."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from digits_run import NODE, STUDENT, WORKER, record, summary

from runner.model import Record
from runner.report.html import to_html
from runner.report.markdown import to_markdown
from runner.report.summary import Report, summarise, to_json
from runner.report.terminal import to_terminal
from runner.report.timeline import timeline

Plan = dict[str, Any]
NIGHT_S = 8 * 3600.0


@pytest.fixture
def resumed(records: list[Record]) -> list[Record]:
    """Its driver is killed 8.3 s after the start; the next morning its student goes on."""
    again = NIGHT_S + 8.3
    return [
        *records[:15],
        record(again, "run_started", run="r", job="j"),
        record(again + 0.2, "attempt_started", "student", 3),
        record(again + 0.9, "attempt_running", "student", 3, node=NODE, environment=WORKER),
        record(again + 4.0, "metrics", "student", 3, points=summary(STUDENT)),
        record(again + 4.2, "attempt_ended", "student", 3, status="finished", error=None),
        record(again + 4.2, "task_ended", "student", status="finished", error=None),
        record(again + 4.7, "run_ended", status="finished"),
    ]


@pytest.fixture
def report(plan_document: Plan, resumed: list[Record]) -> Report:
    return summarise(plan_document, resumed)


def test_no_duration_counts_the_pause(report: Report) -> None:
    assert report.duration_s == pytest.approx(8.3 + 4.7)
    student = report.tasks[1]
    assert student.duration_s == pytest.approx((7.0 - 5.2) + 4.0)  # the second waited
    assert report.started_s is not None and report.ended_s is not None
    assert report.ended_s - report.started_s == pytest.approx(NIGHT_S + 13.0)


def test_a_run_that_goes_on_again_is_as_long_as_it_was_at_work(
    plan_document: Plan, resumed: list[Record]
) -> None:
    going = summarise(plan_document, resumed[:-3])
    assert going.status == "running"
    assert going.duration_s == pytest.approx(8.3 + 4.0)
    assert going.tasks[1].duration_s == pytest.approx(1.8 + 3.8)


def test_a_pause_after_a_word_of_the_end_begins_with_it(
    plan_document: Plan, resumed: list[Record]
) -> None:
    ended = record(9.0, "run_ended", status="cancelled")
    report = summarise(plan_document, [*resumed[:15], ended, *resumed[15:]])
    assert report.duration_s == pytest.approx(9.0 + 4.7)


def test_every_form_says_that_it_was_resumed(report: Report) -> None:
    assert "13.0 s, resumed once" in to_terminal(report)
    assert "13.0 s, resumed once" in to_markdown(report)
    page = to_html(report)
    assert "13.0 s, resumed once" in page
    assert "lay still for 8 h 0 min" in page and "lay still for 8 h 0 min" in to_markdown(report)
    assert "resumed" not in to_json(report)  # what scripts rely on has no key for it


def test_a_run_that_was_not_resumed_says_nothing_of_it(
    plan_document: Plan, records: list[Record]
) -> None:
    report = summarise(plan_document, records)
    for text in (to_terminal(report), to_markdown(report), to_html(report)):
        assert "resumed" not in text and "lay still" not in text


def test_the_timeline_leaves_the_pause_out(report: Report) -> None:
    root = ElementTree.fromstring(timeline(report))
    bars = [each.attrib for each in root.iter("rect")]
    # The third attempt's worker came 0.9 s after the run went on, 8.3 s into its 13.
    assert float(bars[-1]["x"].rstrip("%")) == pytest.approx(100 * (8.3 + 0.9) / 13, abs=0.01)
    assert float(bars[-1]["width"].rstrip("%")) == pytest.approx(100 * 3.3 / 13, abs=0.01)
    (pause,) = [each for each in root.iter("line") if each.get("class") == "pause"]
    assert float(pause.attrib["x1"].rstrip("%")) == pytest.approx(100 * 8.3 / 13, abs=0.01)
    (title,) = pause.iter("title")
    assert title.text == "resumed after a pause of 8 h 0 min"
