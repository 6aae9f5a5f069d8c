"""What a task tried: which of it no other beats, the table, the picture, the words."""

from __future__ import annotations

from typing import Any

from digits_run import finished

from runner.report.html import to_html
from runner.report.markdown import to_markdown
from runner.report.pareto import Point, front, points, rows
from runner.report.particulars import figures_beside
from runner.report.terminal import to_terminal


def made(name: str, accuracy: float, latency_ms: float, note: str = "") -> Point:
    return Point(
        name=name,
        accuracy=accuracy,
        size_mb=1.0,
        latency_ms=latency_ms,
        samples_per_s=100.0,
        note=note,
    )


def test_the_front_holds_what_no_other_beats() -> None:
    slow, fast, worse, same = (
        made("slow", 0.99, 2.0),
        made("fast", 0.97, 0.5),
        made("worse", 0.96, 0.6),
        made("same", 0.97, 0.5),
    )
    assert front([slow, worse, fast, same]) == [fast, same, slow]
    assert front([]) == []


def figures(prefix: str, accuracy: float, size: float, latency: float) -> dict[str, float]:
    return {
        f"{prefix}test/accuracy": accuracy,
        f"{prefix}size/model_mb": size,
        f"{prefix}latency/p50_ms": latency,
        f"{prefix}throughput/samples_per_s": 64e3 / latency,
    }


TRIED = {
    **figures("", 0.98, 1.9, 0.2),
    **figures("baseline/", 0.981, 7.4, 2.0),
    **figures("tried/onnx-int8-static/", 0.98, 1.9, 0.2),
    **figures("tried/openvino-int8-static/", 0.979, 2.0, 0.4),
}


def test_a_choice_is_shown_beside_what_it_was_made_from() -> None:
    found = [
        made("original", 0.981, 2.0, "original"),
        made("onnx-int8-static", 0.98, 0.2, "kept"),
    ]
    assert [cells[0] for cells in rows(found)] == ["1 original", "2 onnx-int8-static"]
    assert [cells[5] for cells in rows(found)] == ["1.0×", "10.0×"]


def test_reports_hold_what_was_tried_and_which_of_it_was_kept(
    plan_document: dict[str, Any],
) -> None:
    report = finished(plan_document, {"student": TRIED})
    found = points(report, report.tasks[0])
    assert [each.name for each in found] == [
        "student's original",
        "onnx-int8-static",
        "openvino-int8-static",
    ]
    assert [each.note for each in found] == ["original", "kept", ""]
    page = to_html(report)
    assert "What was tried" in page
    assert "Accuracy and latency of what student tried" in page
    for text in (page, to_markdown(report), to_terminal(report)):
        assert "openvino" in text
    assert not [name for name, _ in figures_beside(report, report.tasks[0]) if "tried" in name]


def test_a_model_that_was_changed_after_it_was_tried_has_a_row_of_its_own(
    plan_document: dict[str, Any],
) -> None:
    metrics = {**TRIED, **figures("", 0.98, 3.0, 0.9)}
    report = finished(plan_document, {"student": metrics})
    found = points(report, report.tasks[0])
    assert [each.note for each in found] == ["original", "", "", "kept"]
    assert found[-1].size_mb == 3.0


def test_one_thing_alone_is_no_choice(plan_document: dict[str, Any]) -> None:
    alone = {name: value for name, value in TRIED.items() if "openvino" not in name}
    report = finished(plan_document, {"student": alone})
    assert points(report, report.tasks[0]) == []
    assert "What was tried" not in to_html(report)
