"""Records fold into a state that is right after every one of them."""

from __future__ import annotations

import math
from typing import Any

from digits_run import NODE, START_S, STUDENT, record
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from runner.model import Record
from runner.report.fold import RunState, fold, observed

TASKS = ("teacher", "student")


def test_a_finished_run(records: list[Record]) -> None:
    state = fold(records, TASKS)
    assert (state.status, state.started_s, state.ended_s) == ("finished", START_S, START_S + 12.3)
    assert [task.status for task in state.tasks.values()] == ["finished", "finished"]
    student = state.tasks["student"]
    assert [each.status for each in student.attempts] == ["lost", "finished"]
    assert student.last is not None
    assert student.last.node == NODE
    assert student.last.environment["threads"] == 1
    assert student.last.metrics["test/accuracy"] == STUDENT["test/accuracy"]
    assert student.last.artifacts["model"]["bytes"] == 12_345
    assert student.error is None


def test_the_series_of_a_lost_attempt_does_not_mix_in(records: list[Record]) -> None:
    student = fold(records, TASKS).tasks["student"]
    first, second = student.attempts
    assert [step for step, _ in first.series["train/loss"]] == list(range(10, 61, 10))
    assert [step for step, _ in second.series["train/loss"]] == list(range(10, 361, 10))


def test_metrics_of_a_new_attempt_start_empty(records: list[Record]) -> None:
    student = fold(records[:13], TASKS).tasks["student"]
    assert len(student.attempts) == 2
    assert student.last is not None and student.last.metrics == {}


def test_a_summary_figure_wins_over_the_end_of_its_series() -> None:
    points = [["test/loss", None, 0.5], ["test/loss", 7, 0.9], ["train/loss", 7, 0.3]]
    last = fold([record(1, "metrics", "a", 1, points=points)]).tasks["a"].last
    assert last is not None
    assert last.metrics == {"test/loss": 0.5, "train/loss": 0.3}
    assert last.series == {"test/loss": [(7, 0.9)], "train/loss": [(7, 0.3)]}


def test_tasks_that_never_started_are_pending(records: list[Record]) -> None:
    state = fold(records[:1], TASKS)
    assert state.status == "running"
    assert {task.status for task in state.tasks.values()} == {"pending"}


def test_a_task_that_waits_is_pending_and_says_why(records: list[Record]) -> None:
    waiting = fold(records[:14], TASKS).tasks["student"]
    assert waiting.last is not None
    assert (waiting.status, waiting.last.waiting) == ("pending", "0 of 1 CPU free on node-1")
    running = fold(records[:15], TASKS).tasks["student"]
    assert running.last is not None
    assert (running.status, running.last.waiting) == ("running", None)


def test_record_by_record_is_the_same_as_all_at_once(records: list[Record]) -> None:
    state = RunState(tasks=fold([], TASKS).tasks)
    for number, each in enumerate(records, start=1):
        state.apply(each)
        assert state == fold(records[:number], TASKS)


def test_a_run_without_a_driver_is_lost(records: list[Record]) -> None:
    state = fold(records[:15], TASKS)
    seen = observed(state, driver_alive=False)
    assert (seen.status, seen.tasks["teacher"].status) == ("lost", "finished")
    assert seen.tasks["student"].status == "lost"
    assert state.status == "running" and state.tasks["student"].status == "running"
    assert observed(state, driver_alive=True) is state
    ended = fold(records, TASKS)
    assert observed(ended, driver_alive=False).status == "finished"


def test_no_task_outlives_its_run(records: list[Record]) -> None:
    def after(status: str) -> list[str]:
        state = fold([*records[:4], record(3, "run_ended", status=status)], TASKS)
        return [task.status for task in state.tasks.values()]

    assert after("cancelled") == ["cancelled", "cancelled"]
    assert after("failed") == ["lost", "pending"]


def test_a_resumed_run_keeps_what_is_finished(records: list[Record]) -> None:
    died = records[:15]
    again = record(60, "run_started", run="r", job="j")
    state = fold([*died, again], TASKS)
    assert (state.status, state.started_s) == ("running", START_S)
    assert [task.status for task in state.tasks.values()] == ["finished", "pending"]
    lost = state.tasks["student"].attempts[-1]
    assert (lost.status, lost.ended_s) == ("lost", died[-1].at_s)


def test_torn_records_change_what_they_can_and_raise_nothing() -> None:
    torn = [
        record(0, "run_started", cluster="a cluster in words"),
        record(1, "metrics", "a", 1, points=[["x"], ["y", "1", None], ["z", None, None], 3]),
        record(1, "metrics", "a", 1, points=None),
        record(2, "progress", "a"),
        record(3, "artifact", "a", 1),
        record(4, "attempt_ended", "a", 2, status="no such status", error="text"),
        record(5, "an event of a newer runner", "a", 2),
        record(6, "task_ended", "b"),
    ]
    state = fold(torn, ("a", "b"))
    assert state.cluster == {"source": "a cluster in words"}
    first = state.tasks["a"].attempts[0]
    assert set(first.summary) == {"y", "z"} and math.isnan(first.summary["z"])
    assert state.tasks["a"].status == "failed"
    assert state.tasks["b"].status == "failed"


json_values = some.recursive(
    some.none() | some.booleans() | some.floats() | some.integers() | some.text(max_size=8),
    lambda inner: (
        some.lists(inner, max_size=4) | some.dictionaries(some.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = ("cluster", "environment", "node", "points", "status", "error", "step", "name", "placement")
EVENTS = (
    "run_started",
    "attempt_started",
    "attempt_running",
    "progress",
    "metrics",
    "artifact",
    "attempt_ended",
    "task_ended",
    "waiting",
    "heartbeat",
    "run_ended",
    "fact",
)


# How long it takes to think of records says nothing of the fold.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    some.lists(
        some.builds(
            Record,
            at_s=some.floats(0, 1e9),
            event=some.sampled_from(EVENTS),
            task=some.sampled_from([None, "teacher", "student", "other"]),
            attempt=some.sampled_from([None, 1, 2, 3]),
            data=some.dictionaries(some.sampled_from(KEYS), json_values, max_size=5),
        ),
        max_size=12,
    )
)
def test_the_fold_is_total(stream: list[Record]) -> None:
    state: Any = observed(fold(stream, TASKS), driver_alive=False)
    assert {"teacher", "student"} <= set(state.tasks)


def test_facts_join_the_environment_of_their_attempt() -> None:
    state = fold(
        [
            record(0, "attempt_running", "a", 1, environment={"device": "cuda"}),
            record(1, "fact", "a", 1, name="gpu", text="H100"),
            record(2, "fact", "a", 2, name="gpu", text="L4"),
        ]
    )
    first, second = state.tasks["a"].attempts
    assert first.environment == {"device": "cuda", "gpu": "H100"}
    assert second.environment == {"gpu": "L4"}


def test_a_resumed_attempt_has_the_series_of_the_one_it_took_up() -> None:
    def metrics(attempt: int, *points: list[object]) -> Record:
        return Record(at_s=1.0, event="metrics", task="a", attempt=attempt,
                      data={"points": list(points)})  # fmt: skip

    state = fold(
        [
            metrics(1, ["train/loss", 5, 0.9], ["train/loss", 10, 0.8], ["train/loss", 15, 0.7]),
            metrics(2, ["checkpoint/resumed_at_step", None, 10.0], ["train/loss", 15, 0.6]),
            metrics(3, ["checkpoint/resumed_at_step", None, 15.0], ["train/loss", 20, 0.5]),
        ]
    )
    assert state.tasks["a"].series() == {"train/loss": [(5, 0.9), (10, 0.8), (15, 0.6), (20, 0.5)]}
    anew = fold([metrics(1, ["train/loss", 5, 0.9]), metrics(2, ["train/loss", 3, 0.4])])
    assert anew.tasks["a"].series() == {"train/loss": [(3, 0.4)]}
