"""What a report says of a task that made files of another task's model: each beside that model."""

from __future__ import annotations

from typing import Any

from digits_run import TEACHER, finished

from runner.report.appendix import definitions
from runner.report.comparison import compare
from runner.report.headline import headline

FILE = {
    **TEACHER,
    "compression/size_ratio": 1.0,
    "compression/accuracy_drop": 0.0,
    "compression/agreement": 1.0,
    "operations/all": 12.0,
}
SLOW = FILE | {"compression/speedup": 0.8, "latency/p50_ms": TEACHER["latency/p50_ms"] / 0.8}
FAST = FILE | {"compression/speedup": 6.0, "latency/p50_ms": TEACHER["latency/p50_ms"] / 6.0}
EXPORTED = {
    "data/test_samples": 360.0,
    **{f"baseline/{name}": value for name, value in TEACHER.items()},
    **{f"torch-export/{name}": value for name, value in SLOW.items()},
    **{f"onnx/{name}": value for name, value in FAST.items()},
}


def test_each_file_has_a_column_beside_the_model_and_the_task_has_none(
    plan_document: dict[str, Any],
) -> None:
    report = finished(plan_document, {"teacher": TEACHER, "student": EXPORTED})
    table = compare(report)
    assert [column.heading for column in table.columns] == [
        "teacher", "student torch-export", "torch-export vs teacher", "student onnx",
        "onnx vs teacher",
    ]  # fmt: skip
    row = table.labels.index("latency p50, batch 1")
    assert table.columns[2].cells[row] == "1.2× slower"
    assert table.columns[4].cells[row] == "6.0× faster"


def test_the_headline_is_about_the_fastest_of_them(plan_document: dict[str, Any]) -> None:
    report = finished(plan_document, {"teacher": TEACHER, "student": EXPORTED})
    expected = "onnx of student is 6.0× faster than teacher, about as large, and just as accurate"
    assert headline(report) == expected


def test_how_they_were_measured_is_said(plan_document: dict[str, Any]) -> None:
    report = finished(plan_document, {"teacher": TEACHER, "student": EXPORTED})
    told = dict(definitions(report))["Forms of a model"]
    assert "that of the model that it was made from" in told
    assert "Forms of a model" not in dict(
        definitions(finished(plan_document, {"teacher": TEACHER}))
    )
