"""What a report says of a pruned model: parameters that are gone, and zeros, which save nothing."""

from __future__ import annotations

from typing import Any

from digits_run import STUDENT, TEACHER, finished

from runner.report.appendix import definitions
from runner.report.comparison import compare
from runner.report.headline import headline
from runner.report.terminal import to_terminal

BEFORE = {"size/zeros": 0.0, "size/gzip_mb": 1.13, "size/multiply_adds": 61_000_000.0}
SPARSE = {
    "size/zeros": 271_000.0,
    "size/gzip_mb": 0.28,
    "size/multiply_adds": 61_000_000.0,
    "compression/size_ratio": 1.0,
    "compression/gzip_ratio": 1.13 / 0.28,
    "compression/accuracy_drop": 0.002,
}


def test_zeros_and_what_is_gone_are_told_apart(plan_document: dict[str, Any]) -> None:
    baseline = {f"baseline/{name}": value for name, value in BEFORE.items()}
    report = finished(plan_document, {"teacher": TEACHER, "student": STUDENT | SPARSE | baseline})
    table = compare(report)
    rows = {
        label: tuple(column.cells[index] for column in table.columns)
        for index, label in enumerate(table.labels)
    }
    assert rows["of these zero"] == ("0", "271 k", "")
    assert rows["multiply-adds a sample"] == ("61.0 M", "61.0 M", "same")
    assert rows["gzipped"] == ("1.13 MB", "0.280 MB", "4.0× smaller")
    told = dict(definitions(report))
    assert told["Zeros"].startswith("parameters that are zero; they are stored")
    assert {"Gzipped", "Multiply-adds"} <= told.keys()


def test_the_headline_of_zeros_is_their_size_once_compressed(
    plan_document: dict[str, Any],
) -> None:
    kept = {name: value for name, value in STUDENT.items() if not name.startswith("compression/")}
    report = finished(plan_document, {"teacher": TEACHER, "student": kept | SPARSE})
    assert headline(report) == (
        "student is 4.0× smaller once gzipped than teacher, about as large, and 0.2 points "
        "less accurate"
    )
    none = SPARSE | {"compression/gzip_ratio": 1.01}
    report = finished(plan_document, {"teacher": TEACHER, "student": kept | none})
    assert headline(report).startswith(
        "compared to teacher, student is about as large, as large gzipped, and"
    )


def test_a_part_of_a_table_leaves_out_rows_that_are_empty_there(
    plan_document: dict[str, Any],
) -> None:
    """Of the teacher no zeros are counted; in a narrow terminal it stands alone."""
    report = finished(plan_document, {"teacher": TEACHER, "student": STUDENT | SPARSE})
    narrow, wide = (to_terminal(report, columns=columns) for columns in (40, 200))
    assert narrow.count("model on disk") > wide.count("model on disk")  # it is cut
    assert narrow.count("of these zero") == wide.count("of these zero")
