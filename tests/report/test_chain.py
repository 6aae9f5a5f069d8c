"""One table from the first model of a run to the files: what belongs to it, and its ratios."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from digits_run import STUDENT, TEACHER, finished, planned_task

from runner.report import chain
from runner.report.comparison import compare
from runner.report.headline import headline
from runner.report.html import to_html
from runner.report.markdown import to_markdown
from runner.report.terminal import to_terminal


def figures(accuracy: float, size_mb: float, latency_ms: float, prefix: str = "") -> dict[str, Any]:
    return {
        f"{prefix}test/accuracy": accuracy,
        f"{prefix}size/parameters": 2410,
        f"{prefix}size/model_mb": size_mb,
        f"{prefix}latency/p50_ms": latency_ms,
        f"{prefix}throughput/samples_per_s": 1000.0 / latency_ms,
    }


BEFORE = figures(0.9722, 0.0103, 0.0412, "baseline/")
INT8 = {
    **figures(0.97, 0.0034, 0.011),
    **BEFORE,
    "compression/speedup": 4.0,
    "compression/size_ratio": 3.03,
}
FILES = {
    **BEFORE,
    **figures(0.9722, 0.0101, 0.02, "onnx/"),
    "onnx/compression/speedup": 2.0,
    **figures(0.9722, 0.0102, 0.03, "openvino/"),
    "openvino/compression/speedup": 1.5,
}


@pytest.fixture
def longer(plan_document: dict[str, Any]) -> dict[str, Any]:
    """The plan with two tasks more, that take the student."""
    more = [
        planned_task("int8", "quantize", ["student"]),
        planned_task("pc", "export", ["student"]),
    ]
    return {**plan_document, "tasks": [*plan_document["tasks"], *more]}


def test_every_model_and_file_has_a_row_with_what_it_is_to_the_first(
    longer: dict[str, Any],
) -> None:
    report = finished(longer, {"teacher": TEACHER, "student": STUDENT, "int8": INT8, "pc": FILES})
    found = chain.links(report)
    cells = {row[0]: row[1:] for row in chain.rows(found)}
    assert list(cells) == ["teacher", "student", "int8", "pc onnx", "pc openvino"]
    assert cells["teacher"][3:6] == ("1.0×", "0.0934 ms", "1.0×")
    # The student was 2.3 times faster side by side, and its file 4 times faster than that.
    times = STUDENT["compression/speedup"]
    assert [each.faster for each in found] == pytest.approx(
        [1.0, times, times * 4, times * 2, times * 1.5]
    )
    assert cells["int8"] == (
        "97.0 %",
        "2.41 k",
        "0.00340 MB",
        "354×",
        "0.0110 ms",
        "9.2×",
        "90.9 k/s",
    )
    assert headline(report).startswith(
        "int8 is 354× smaller and 9.2× faster than teacher, and 1.1 po"
    )
    page, text, plain = to_html(report), to_markdown(report), to_terminal(report)
    assert "<h2>What became of teacher</h2>" in page
    assert 'id="chain' in page or "Accuracy and latency from teacher on" in page
    assert "## What became of teacher" in text
    assert "product of the steps' ratios" in " ".join(plain.split())


def test_one_step_is_no_chain(plan_document: dict[str, Any]) -> None:
    report = finished(plan_document, {"teacher": TEACHER, "student": STUDENT})
    assert chain.links(report) == []
    assert "What became of" not in to_html(report)


def test_a_ratio_that_was_not_measured_is_left_out_from_there_on(longer: dict[str, Any]) -> None:
    slow = {name: value for name, value in STUDENT.items() if name != "compression/speedup"}
    report = finished(longer, {"teacher": TEACHER, "student": slow, "int8": INT8, "pc": FILES})
    assert [each.faster for each in chain.links(report)] == [1.0, None, None, None, None]
    assert {row[6] for row in chain.rows(chain.links(report))[1:]} == {"–"}


def test_energy_has_a_column_where_it_was_read(longer: dict[str, Any]) -> None:
    tasks = {"teacher": TEACHER, "student": STUDENT, "int8": INT8, "pc": FILES}
    report = finished(longer, tasks)
    assert "energy" not in chain.headings(chain.links(report))
    tasks["int8"] = {**INT8, "energy/mj_per_sample": 0.0421, "baseline/energy/mj_per_sample": 0.2}
    found = chain.links(finished(longer, tasks))
    assert chain.headings(found)[-1] == "energy"
    assert [row[-1] for row in chain.rows(found)] == ["–", "–", "0.0421 mJ", "–", "–"]
    table = to_markdown(finished(longer, tasks))
    assert "energy a sample, batched" in table and "4.8× less" in table


def test_what_missed_a_gate_is_compared_like_all_others(longer: dict[str, Any]) -> None:
    tasks = {"teacher": TEACHER, "student": STUDENT, "int8": INT8, "pc": FILES}
    report = finished(longer, tasks)
    *others, last = report.tasks
    error = {"type": "GateMissed", "message": "gate size_ratio: 1 where at least 2 is asked for"}
    missed = replace(report, tasks=[*others, replace(last, status="failed", error=error)])
    assert [each.name for each in chain.links(missed)][-2:] == ["pc onnx", "pc openvino"]
    assert compare(missed) == compare(report)
    crashed = replace(last, status="failed", error={**error, "type": "TaskError"})
    assert len(chain.links(replace(report, tasks=[*others, crashed]))) == 3
