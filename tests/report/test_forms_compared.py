"""A task that made several forms of a model has a column for each, beside the model itself."""

from __future__ import annotations

from typing import Any

from digits_run import STUDENT, TEACHER, finished

from runner.report.appendix import definitions
from runner.report.comparison import compare
from runner.report.html import to_html
from runner.report.particulars import figures_beside
from runner.report.terminal import to_terminal

Plan = dict[str, Any]
KERAS = {
    "test/accuracy": 0.9806,
    "test/loss": 0.0841,
    "size/parameters": 301066,
    "size/model_mb": 1.2,
    "latency/p50_ms": 0.2,
    "latency/p95_ms": 0.3,
    "throughput/samples_per_s": 4000.0,
    "memory/peak_mb": 700.0,
    "compression/agreement": 1.0,
    "compression/largest_difference": 0.0,
}
LITERT = KERAS | {
    "size/model_mb": 1.1,
    "latency/p50_ms": 0.02,
    "test/loss": 0.08410000003,
    "compression/largest_difference": 2e-6,
    "compression/speedup": 10.0,
}
INT8 = LITERT | {"size/model_mb": 0.3, "test/accuracy": 0.9706, "compression/agreement": 0.985}


def under(form: str, figures: dict[str, Any]) -> dict[str, Any]:
    return {f"{form}/{name}": value for name, value in figures.items()}


FORMS = under("keras", KERAS) | under("litert", LITERT) | under("litert-int8", INT8)


def cells(report: Any) -> dict[str, dict[str, str]]:
    table = compare(report)
    return {
        column.heading: dict(zip(table.labels, column.cells, strict=True))
        for column in table.columns
    }


def test_each_form_is_set_against_the_model_measured_beside_it(plan_document: Plan) -> None:
    report = finished(plan_document, {"teacher": TEACHER | FORMS, "student": TEACHER})
    found = cells(report)
    assert list(found) == [
        "teacher", "teacher litert", "litert vs teacher", "teacher litert-int8",
        "litert-int8 vs teacher", "student",
    ]  # fmt: skip
    assert found["teacher"]["latency p50, batch 1"] == "0.200 ms"
    assert found["student"]["latency p50, batch 1"] == "0.0934 ms"
    assert found["litert vs teacher"]["latency p50, batch 1"] == "10.0× faster"
    assert found["litert vs teacher"]["test loss"] == "±0"
    assert found["litert-int8 vs teacher"]["model on disk"] == "4.0× smaller"
    assert found["litert-int8 vs teacher"]["test accuracy"] == "\u22121.0 points"
    assert found["teacher litert-int8"]["same answers"] == "98.5 %"
    assert found["student"]["same answers"] == "–"
    roles = [[column.role for column in group] for group in compare(report).groups]
    assert roles == [["baseline", "model", "change"], ["model", "change"], ["model"]]
    assert "Forms of a model" in dict(definitions(report))
    assert "teacher litert-int8" in to_html(report) and "4.0× smaller" in to_terminal(report)


def test_a_model_on_a_tpu_keeps_the_column_of_its_figures_there(plan_document: Plan) -> None:
    plan_document["tasks"][0]["placement"]["device"] = "tpu"
    report = finished(plan_document, {"teacher": TEACHER | FORMS})
    found = cells(report)
    assert list(found)[:4] == [
        "teacher",
        "teacher keras",
        "teacher litert",
        "litert vs keras",
    ]
    assert found["teacher"]["latency p50, batch 1"] == "0.0934 ms"
    assert found["teacher keras"]["latency p50, batch 1"] == "0.200 ms"


def test_forms_of_a_distilled_model_stand_beside_its_comparison(plan_document: Plan) -> None:
    report = finished(plan_document, {"teacher": TEACHER, "student": STUDENT | FORMS})
    assert list(cells(report)) == [
        "teacher", "student", "student vs teacher", "student keras", "student litert",
        "litert vs keras", "student litert-int8", "litert-int8 vs keras",
    ]  # fmt: skip


def test_forms_of_another_tasks_model_are_set_against_that(plan_document: Plan) -> None:
    made = under("baseline", TEACHER | KERAS) | under("onnx", LITERT) | under("tried", INT8)
    report = finished(plan_document, {"teacher": TEACHER, "student": made})
    assert list(cells(report)) == ["teacher", "student onnx", "onnx vs teacher"]


def test_what_the_table_shows_of_forms_is_not_told_again(plan_document: Plan) -> None:
    report = finished(plan_document, {"teacher": TEACHER | FORMS})
    beside = dict(figures_beside(report, report.tasks[0]))
    assert beside["litert/compression/largest_difference"] == "0.000002"
    assert beside["litert/memory/peak_mb"] == "700 MB"
    # Of the training's own process, which is not that of the table.
    assert beside["latency/p50_ms"] == "0.0934 ms"
    assert not {name for name in beside if name.startswith("litert/") and "latency" in name}
    assert "litert/compression/speedup" not in beside
