"""What went wrong is shown as far as it helps, and where the rest of it can be read."""

from __future__ import annotations

from typing import Any

import pytest
from digits_run import record

from runner.model import Record
from runner.report.failure import failure
from runner.report.headline import headline
from runner.report.html import to_html
from runner.report.markdown import to_markdown
from runner.report.summary import document, summarise
from runner.report.terminal import to_terminal

Plan = dict[str, Any]
RUN = "distill-digits-20261122-154501-3f2a"
OWN = ["my/model.py:12 in forward: return self.head(x)", "my/model.py:30 in head: return y @ w"]
OTHERS = [
    "/opt/env/lib/python3.11/site-packages/torch/nn/modules/linear.py:134 in forward: F.linear()",
    *(f"/opt/env/lib/python3.11/site-packages/runner/loop.py:{n} in fit" for n in range(8)),
]


def error(own: int, log: str = "") -> dict[str, Any]:
    return {
        "type": "ValueError",
        "message": "expected 64 inputs",
        "hint": "",
        "frames": [*OWN[:own], *OTHERS],
        "user_frames": own,
        "log": log,
    }


def test_the_user_s_frames_come_first_and_of_the_others_the_one_that_raised() -> None:
    assert failure(error(2)).frames == (
        *OWN,
        "torch/nn/modules/linear.py:134 in forward: F.linear()",
        "… 8 more frames, which the log has",
    )


def test_where_no_frame_is_the_user_s_some_of_the_way_there_is_shown() -> None:
    frames = failure(error(0)).frames
    assert len(frames) == 7
    assert frames[0].startswith("torch/") and frames[1] == "runner/loop.py:0 in fit"
    assert frames[-1] == "… 3 more frames, which the log has"


def test_a_deep_recursion_of_the_user_s_is_cut() -> None:
    deep = error(0) | {"frames": OWN * 50, "user_frames": 100}
    frames = failure(deep).frames
    assert len(frames) == 13
    assert frames[-1] == "… 88 more frames, which the log has"


def test_a_frame_too_many_is_one_frame() -> None:
    few = error(0) | {"frames": OTHERS[:7]}
    assert failure(few).frames[-1] == "… 1 more frame, which the log has"
    assert len(failure(few | {"frames": OTHERS[:6]}).frames) == 6


def failed(plan: Plan, records: list[Record], wrong: dict[str, Any]) -> str:
    stream = [
        *records[:4],
        record(2.8, "attempt_ended", "teacher", 1, status="failed", error=wrong),
        record(2.8, "task_ended", "teacher", status="failed", error=wrong),
        record(3.0, "run_ended", status="failed"),
    ]
    return to_html(summarise(plan, stream, storage="/runs"))


def test_a_log_in_the_run_s_folder_is_a_link(plan_document: Plan, records: list[Record]) -> None:
    page = failed(plan_document, records, error(2, f"/runs/{RUN}/teacher/1/log.txt"))
    assert '<a href="./teacher/1/log.txt"><code>teacher/1/log.txt</code></a>' in page
    named = failed(plan_document, records, error(2, f'/runs/{RUN}/teacher/1/a "b".txt'))
    assert 'href="./teacher/1/a%20%22b%22.txt"' in named


@pytest.mark.parametrize("path", ["/var/log/log.txt", "javascript:alert(1)", "student/1/log.txt"])
def test_a_log_elsewhere_is_no_link(plan_document: Plan, records: list[Record], path: str) -> None:
    page = failed(plan_document, records, error(2, path))
    assert f"Log: <code>{path}</code>" in page
    assert "<a " not in page


def test_a_lost_run_says_what_became_of_it_and_where_its_log_lies(
    plan_document: Plan, records: list[Record]
) -> None:
    report = summarise(plan_document, records[:17], driver_alive=False, storage="/runs")
    log = f"/runs/{RUN}/student/2/log.txt"
    wrong: Any = document(report)["tasks"]["student"]["error"]  # type: ignore[index,call-overload]
    assert (wrong["type"], wrong["log"]) == ("Lost", log)
    sentence = "student: the process that drove the run (4242 on laptop) ended without a word"
    assert sentence in to_terminal(report) and f"log   {log}" in to_terminal(report)
    assert sentence in to_html(report) and 'href="./student/2/log.txt"' in to_html(report)
    assert f"Log: {log}" in to_markdown(report).replace("\\", "")


def test_a_task_at_work_when_its_run_ended_says_so(
    plan_document: Plan, records: list[Record]
) -> None:
    broken = [*records[:4], record(3, "run_ended", status="failed")]
    teacher, _ = summarise(plan_document, broken).tasks
    assert teacher.error is not None
    assert teacher.error["message"] == "the run ended while it was at work"
    assert teacher.error["log"] == "teacher/1/log.txt"


def test_a_worker_that_never_was_up_has_no_log(plan_document: Plan, records: list[Record]) -> None:
    teacher, _ = summarise(plan_document, records[:2], driver_alive=False).tasks
    assert teacher.error is not None and "log" not in teacher.error


def test_a_missed_gate_is_the_headline_and_all_others_follow(
    plan_document: Plan, records: list[Record]
) -> None:
    misses = [f"gate size_mb of form-{n}: 2 where at most 1 is asked for, 1 more" for n in range(6)]
    first = f"{misses[0]} (5 others missed)"
    wrong = {"type": "GateMissed", "message": "\n".join([first, *misses[1:]]), "frames": []}
    stream = [
        *records[:4],
        record(2.8, "attempt_ended", "teacher", 1, status="failed", error=wrong),
        record(2.8, "task_ended", "teacher", status="failed", error=wrong),
        record(3.0, "run_ended", status="failed"),
    ]
    report = summarise(plan_document, stream, storage="/runs")
    assert headline(report).startswith(f"teacher failed: {first}")
    for shown in (to_terminal(report), to_html(report)):
        assert all(each in shown for each in misses)
    assert "…" not in headline(report)


def test_a_rank_is_named_for_what_only_it_met() -> None:
    error = {"message": "the column 'a' is missing", "hint": "", "frames": [], "rank": 1}
    assert failure({**error, "type": "TaskError"}).summary == "the column 'a' is missing"
    assert failure({**error, "type": "ValueError"}).summary.startswith("rank 1: ValueError: ")
    assert failure({**error, "type": "OutOfMemory"}).summary.startswith("rank 1: ")
