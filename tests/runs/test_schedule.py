"""The state machine of a run: what starts when, and what an attempt's end means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.model import TaskStatus
from runner.runs.schedule import End, Schedule, Start
from tests.runs.plans import plan

DIAMOND = {"top": (), "left": ("top",), "right": ("top",), "bottom": ("left", "right")}


def test_independent_tasks_start_at_once_in_the_order_of_the_file() -> None:
    schedule = Schedule(plan({"b": (), "a": (), "c": ("a",)}))
    assert schedule.begin() == [Start("b", 1), Start("a", 1)]
    assert schedule.outcome == "running"


def test_a_task_starts_when_the_last_of_what_it_depends_on_is_finished() -> None:
    schedule = Schedule(plan(DIAMOND))
    assert schedule.begin() == [Start("top", 1)]
    assert schedule.ended("top", "finished", None) == [
        End("top", "finished", None),
        Start("left", 1),
        Start("right", 1),
    ]
    assert schedule.ended("right", "finished", None) == [End("right", "finished", None)]
    assert schedule.ended("left", "finished", None) == [
        End("left", "finished", None),
        Start("bottom", 1),
    ]
    assert not schedule.over
    schedule.ended("bottom", "finished", None)
    assert schedule.over
    assert schedule.outcome == "finished"


@pytest.mark.parametrize("max_restarts", [0, 1, 3])
def test_a_lost_task_is_tried_again_so_many_times_and_no_more(max_restarts: int) -> None:
    schedule = Schedule(plan({"a": (), "b": ("a",)}, max_restarts=max_restarts))
    actions = schedule.begin()
    error = {"type": "Lost", "message": "killed"}
    for attempt in range(1, max_restarts + 1):
        assert actions == [Start("a", attempt)]
        actions = schedule.ended("a", "lost", error)
    assert actions == [Start("a", max_restarts + 1)]
    end, skipped = schedule.ended("a", "lost", error)
    assert end == End("a", "lost", error)
    assert isinstance(skipped, End)
    assert (skipped.task, skipped.status) == ("b", "skipped")
    assert schedule.attempts == {"a": max_restarts + 1, "b": 0}
    assert (schedule.over, schedule.outcome) == (True, "failed")


@pytest.mark.parametrize("status", ["failed", "timed_out"])
def test_what_would_end_the_same_again_is_not_tried_again(status: TaskStatus) -> None:
    schedule = Schedule(plan({"a": ()}, max_restarts=5))
    schedule.begin()
    assert schedule.ended("a", status, None) == [End("a", status, None)]
    assert (schedule.over, schedule.outcome) == (True, "failed")


def test_a_failure_skips_what_depends_on_it_however_far_and_nothing_else() -> None:
    # In the file a dependant may stand before what it depends on.
    schedule = Schedule(plan({"last": ("next",), "next": ("bad",), "bad": (), "good": ()}))
    assert schedule.begin() == [Start("bad", 1), Start("good", 1)]
    bad, *skipped = schedule.ended("bad", "failed", {"type": "ValueError"})
    assert bad == End("bad", "failed", {"type": "ValueError"})
    messages = {each.task: each.error["message"] for each in skipped if each.error}  # type: ignore[union-attr]
    assert messages == {
        "next": "it depends on 'bad', which is failed",
        "last": "it depends on 'next', which is skipped",
    }
    assert schedule.status["good"] == "running"
    schedule.ended("good", "finished", None)
    assert (schedule.over, schedule.outcome) == (True, "failed")


def test_a_task_is_skipped_while_another_it_depends_on_still_runs() -> None:
    schedule = Schedule(plan({"a": (), "b": (), "both": ("a", "b")}))
    schedule.begin()
    assert [action.task for action in schedule.ended("b", "failed", None)] == ["b", "both"]
    assert schedule.ended("a", "finished", None) == [End("a", "finished", None)]
    assert schedule.status == {"a": "finished", "b": "failed", "both": "skipped"}


def test_cancelling_ends_what_has_not_ended_and_leaves_the_rest() -> None:
    schedule = Schedule(plan({"done": (), "going": (), "later": ("going",)}))
    schedule.begin()
    schedule.ended("done", "finished", None)
    assert schedule.cancel() == [End("going", "cancelled", None), End("later", "cancelled", None)]
    assert (schedule.over, schedule.outcome) == (True, "cancelled")
    assert schedule.status["done"] == "finished"
    assert schedule.cancel() == []


def test_cancelling_what_is_over_changes_nothing() -> None:
    schedule = Schedule(plan({"a": ()}))
    schedule.begin()
    schedule.ended("a", "finished", None)
    assert schedule.cancel() == []
    assert schedule.outcome == "finished"


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    """A graph without cycles, its tasks in any order in the file."""
    names = [f"t{number}" for number in range(draw(st.integers(1, 9)))]
    edges = {
        name: tuple(draw(st.lists(st.sampled_from(names[:at]), unique=True, max_size=3)))
        if at
        else ()
        for at, name in enumerate(names)
    }
    return {name: edges[name] for name in draw(st.permutations(names))}


@given(graphs(), st.integers(0, 2), st.data())
def test_whatever_happens_every_task_ends_once_and_none_starts_too_soon(
    graph: dict[str, tuple[str, ...]], max_restarts: int, data: st.DataObject
) -> None:
    schedule = Schedule(plan(graph, max_restarts=max_restarts))
    running: set[str] = set()
    attempts = dict.fromkeys(graph, 0)
    ends: dict[str, TaskStatus] = {}
    actions: list[Start | End] = schedule.begin()
    while True:
        for action in actions:
            if isinstance(action, End):
                assert action.task not in ends
                running.discard(action.task)
                ends[action.task] = action.status
            else:
                assert all(ends.get(other) == "finished" for other in graph[action.task])
                assert action.task not in running
                attempts[action.task] += 1
                assert action.attempt == attempts[action.task] <= max_restarts + 1
                running.add(action.task)
        assert schedule.over == (set(ends) == set(graph))
        if not running:
            break
        task = data.draw(st.sampled_from(sorted(running)))
        how = data.draw(
            st.sampled_from(["finished", "finished", "failed", "lost", "timed_out", "cancel"])
        )
        running.discard(task)
        if how == "cancel":
            running.clear()
            actions = list(schedule.cancel())
        else:
            actions = schedule.ended(task, how, None)
    # With nothing running, nothing is left to wait for.
    assert schedule.over
    assert schedule.status == ends
    statuses = set(ends.values())
    assert (schedule.outcome == "finished") == (statuses == {"finished"})
    assert (schedule.outcome == "cancelled") == ("cancelled" in statuses)
    for task, status in ends.items():
        before = {ends[other] for other in graph[task]}
        if status == "skipped":
            assert before - {"finished"}
            assert attempts[task] == 0
        if before - {"finished"}:
            assert status in ("skipped", "cancelled")
