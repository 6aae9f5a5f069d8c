"""Data that is streamed: what can't be is told where it stands in the file."""

from __future__ import annotations

import pytest

from tests.spec.refusing import TASK, faults

STUDENT = """\
name: job
tasks:
  b:
    kind: distill
    teacher: /somewhere/model
    model: {name: mlp}
    data: {path: /somewhere/data, stream: true}
    cache_teacher: CACHE
    max_epochs: 1
"""


def lines(text: str) -> list[str]:
    return [f"{fault.line}:{fault.column} {fault.message}" for fault in faults(text)]


@pytest.mark.parametrize(
    ("data", "column", "words"),
    [
        ("{name: digits, stream: true}", 26, "'stream' goes with 'path' only"),
        ("{factory: 'm:f', stream: true}", 28, "'stream' goes with 'path' only"),
        ("{path: /a/b.csv, stream: true}", 28, "and the data is csv"),
        ("{path: /a/b.npz, stream: true}", 28, "and the data is npz"),
        ("{path: /a, format: text, stream: true}", 36, "and the data is text"),
        ("{path: /a, stream: yes please}", 30, "expected true or false"),
    ],
)
def test_what_can_not_be_streamed_has_a_place(data: str, column: int, words: str) -> None:
    (found,) = lines(TASK.replace("{name: digits}", data))
    assert found.startswith(f"6:{column} ") and words in found


@pytest.mark.parametrize(
    "data",
    [
        "{path: /a/b.parquet, stream: true, label: kind}",
        "{path: /a, stream: true, test_fraction: 0.01}",
        "{path: /a, format: parquet, stream: true}",
        "{path: /a/b.csv, stream: false}",
    ],
)
def test_what_can(data: str) -> None:
    assert lines(TASK.replace("{name: digits}", data)) == []


def test_a_teacher_answers_anew_where_its_student_streams() -> None:
    assert lines(STUDENT.replace("CACHE", "never")) == lines(STUDENT.replace("CACHE", "auto")) == []
    (found,) = lines(STUDENT.replace("CACHE", "always"))
    assert found.startswith("8:5 ") and "for samples that do not fit there" in found
