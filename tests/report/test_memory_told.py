"""What a report and the live view say of a gang that ran out of memory and went on."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from digits_run import record

from runner.cli.live import Live
from runner.model import Record
from runner.report.fold import RESUMED, fold
from runner.report.particulars import particulars
from runner.report.summary import document, summarise
from tests.runs.plans import plan

Plan = dict[str, Any]
ERROR = {
    "type": "OutOfMemory",
    "message": "cuda:1 ran out of memory with 32 samples at once",
    "hint": "",
    "frames": [],
    "rows": 32,
    "rank": 1,
}


def stream(*, points: list[list[object]] | None = None) -> list[Record]:
    return [
        record(0, "run_started", run="r", job="j"),
        record(1, "attempt_started", "teacher", 1, placement={}),
        record(2, "attempt_running", "teacher", 1, node="node-1"),
        record(5, "attempt_ended", "teacher", 1, status="failed", error=ERROR),
        record(5, "attempt_started", "teacher", 2, placement={}, max_rows=16),
        record(6, "attempt_running", "teacher", 2, node="node-1"),
        record(7, "metrics", "teacher", 2, points=[
            ["train/per_device_batch_size", None, 16], ["train/loss", 30, 0.5], *(points or [])
        ]),
        record(9, "attempt_ended", "teacher", 2, status="finished", error=None),
        record(9, "task_ended", "teacher", status="finished", error=None),
        record(9, "run_ended", status="finished"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("points", "since"), [([[RESUMED, None, 20.0]], "step 20"), ([], "step 0")]
)
def test_the_attempts_say_why_and_with_how_many_samples(
    plan_document: Plan, points: list[list[object]], since: str
) -> None:
    report = summarise(plan_document, stream(points=points))
    lines = dict(particulars(report.tasks[0]))
    first, second = lines["Attempts"].split("; ")
    assert first.startswith("1 failed after 4.0 s on node-1")
    assert first.endswith("(rank 1: cuda:1 ran out of memory with 32 samples at once)")
    assert second.endswith(f"on node-1, with at most 16 samples at once from {since}")
    assert lines["Batches"] == (
        "128 = 16 per device × 8 accumulated × 1 worker, as memory allowed (planned: 128 × 1 × 1); "
        "1437 samples, 12 steps an epoch, 180 steps in all"
    )
    tasks: Any = document(report)["tasks"]
    assert [each["max_rows"] for each in tasks["teacher"]["history"]] == [None, 16]


@pytest.mark.parametrize(
    ("planned", "micro", "max_rows", "text"),
    [
        ((64, 32, 1, 2), 8, None,
         "64 = 8 per device × 4 accumulated × 2 workers, as memory allowed (planned: 32 × 1 × 2)"),
        # Five rows in four parts: two, one, one and one.
        ((20, 5, 2, 2), 2, None,
         "20 = at most 2 per device × 8 accumulated × 2 workers, as memory allowed "
         "(planned: 5 × 2 × 2)"),
        # With a bound, the 24 samples of a worker are divided anew.
        ((48, 12, 2, 2), 8, 8,
         "48 = 8 per device × 3 accumulated × 2 workers, as memory allowed (planned: 12 × 2 × 2)"),
        ((64, 32, 1, 2), 32, None, "64 = 32 per device × 1 accumulated × 2 workers"),
    ],
)  # fmt: skip
def test_the_arithmetic_of_what_memory_allowed_adds_up(
    plan_document: Plan,
    planned: tuple[int, int, int, int],
    micro: int,
    max_rows: int | None,
    text: str,
) -> None:
    names = ("global_batch_size", "per_device_batch_size", "gradient_accumulation_steps",
             "num_workers")  # fmt: skip
    plan_document["tasks"][0]["batches"] = dict(zip(names, planned, strict=True))
    records = [
        record(1, "attempt_started", "teacher", 1, placement={}, max_rows=max_rows),
        record(2, "metrics", "teacher", 1, points=[["train/per_device_batch_size", None, micro]]),
    ]
    report = summarise(plan_document, records)
    assert dict(particulars(report.tasks[0]))["Batches"] == text


def test_a_batch_size_that_was_found_divides_the_batch_anew(plan_document: Plan) -> None:
    plan_document["tasks"][0]["batches"] = {
        "global_batch_size": 48, "per_device_batch_size": 24, "gradient_accumulation_steps": 1,
        "num_workers": 2, "is_auto": True,
    }  # fmt: skip
    records = [record(1, "attempt_started", "teacher", 1, placement={})]
    before = summarise(plan_document, records)
    assert dict(particulars(before.tasks[0]))["Batches"] == (
        "48 = at most 24 per device × 1 accumulated × 2 workers"
    )
    records.append(
        record(2, "metrics", "teacher", 1, points=[["train/per_device_batch_size", None, 8]])
    )
    after = summarise(plan_document, records)
    assert dict(particulars(after.tasks[0]))["Batches"] == (
        "48 = 8 per device × 3 accumulated × 2 workers, as memory allowed "
        "(planned: at most 24 × 1 × 2)"
    )


def test_between_its_attempts_the_task_waits() -> None:
    records = stream()
    assert fold(records[:4]).tasks["teacher"].status == "pending"
    one = {**ERROR, "rows": 1}
    last = record(5, "attempt_ended", "teacher", 1, status="failed", error=one)
    assert fold([*records[:3], last]).tasks["teacher"].status == "failed"
    end = record(5, "task_ended", "teacher", status="failed", error=ERROR)
    assert fold([*records[:4], end]).tasks["teacher"].status == "failed"


@pytest.mark.parametrize("resumed", [True, False])
def test_the_live_view_tells_it_in_lines(resumed: bool) -> None:
    shown = StringIO()
    live = Live("r", plan({"teacher": ()}), shown)
    records = stream(points=[[RESUMED, None, 20.0]] if resumed else [])
    for step in (21, 29):
        told = record(7 + step / 100, "progress", "teacher", 2, step=step, total_steps=40,
                      phase="train")  # fmt: skip
        records.insert(-3, told)
    for each in records:
        live.observe(each)
    assert (
        "teacher: attempt 1 failed: rank 1: cuda:1 ran out of memory with 32 samples at once; "
        "attempt 2 starts with at most 16 samples at once\n"
    ) in shown.getvalue()
    assert shown.getvalue().count("attempt 2 goes on from step 20\n") == resumed
    anew = "attempt 2 starts from step 0: it found no checkpoint\n"
    assert shown.getvalue().count(anew) == (not resumed)
