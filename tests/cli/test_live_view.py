"""What a person sees while a run goes: lines redrawn in place, or plain ones."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest

from runner.cli.live import Live, clipped, line
from runner.model import Record
from runner.report.fold import RESUMED, fold
from runner.report.text import width
from tests.cli.watching import Screen, read_until, terminal, watch
from tests.conftest import Command
from tests.runs.plans import START_S, plan, record

# Long enough to be redrawn many times.
TWO = """\
name: two
tasks:
  first:
    kind: train
    model: {name: mlp, args: {hidden: [16]}}
    data: {name: digits}
    max_steps: 30000
  second:
    kind: evaluate
    model: ${tasks.first.outputs.model}
    data: {name: digits}
"""
WAYS = [(80, False, False), (40, True, False), (22, False, True)]


@pytest.mark.parametrize(("columns", "no_color", "piped"), WAYS)
def test_a_terminal_is_redrawn_in_place_and_never_wider_than_it_is(
    warm: Command, spec: Callable[[str], str], columns: int, no_color: bool, piped: bool
) -> None:
    environment = {**warm.environment, "TERM": "xterm-256color", "NO_COLOR": ""}
    environment |= {"NO_COLOR": "1"} if no_color else {}
    arguments = ["submit", spec(TWO), *(["--json"] if piped else [])]
    code, seen, out = watch(
        arguments, folder=warm.folder, environment=environment, columns=columns, piped_output=piped
    )
    assert code == 0, seen
    end = seen.rindex("\x1b[J") + 3  # what follows the last redraw is the report
    screen = Screen(columns)
    first_line_end = seen.index("\n") + 1  # the run's name, which is as long as it is
    screen.feed(seen[first_line_end:end])
    assert screen.moved_up >= 3
    assert screen.wrapped == 0
    # Redrawn in place: the two tasks, and nothing beside them, are all there is at the end.
    assert [text for text in screen.lines if text.strip()] == screen.lines[:2]
    assert screen.lines[0].startswith("✓ first")
    assert screen.lines[1].startswith("✓ second")
    if columns == 80:
        assert "finished" in screen.lines[0]
        assert "test/accuracy" in screen.lines[1]
        during = [text for drawn in screen.history for text in drawn]
        assert any(
            "step" in text and "loss" in text and "samples/s" in text and text.endswith("left")
            for text in during
        )
        assert any(text.startswith("· second") and "pending" in text for text in during)
    assert screen.coloured is not no_color
    if piped:
        assert json.loads(out)["status"] == "finished"


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_plain_lines_hold_no_control_sequence(
    warm: Command, spec: Callable[[str], str], term: str
) -> None:
    if term == "dumb":
        environment = {**warm.environment, "TERM": "dumb"}
        code, err, _ = watch(
            ["submit", spec(TWO)], folder=warm.folder, environment=environment, columns=80
        )
        assert code == 0
    else:
        warm.environment = {**warm.environment, "TERM": term, "NO_COLOR": ""}
        done = warm("submit", spec(TWO))
        assert done.code == 0
        assert "\x1b" not in done.out
        err = done.err
    assert "\x1b" not in err
    told = [text for text in err.splitlines() if text.startswith("[")]
    assert any("first: finished" in text for text in told)
    assert any("second: finished" in text for text in told)
    # A state is told once, and a training that goes on only every few seconds.
    assert len(told) <= 12


@pytest.mark.parametrize(
    ("text", "cells", "shown"),
    [
        ("plain", 80, "plain"),
        ("plain", 3, "pla"),
        ("日本語", 6, "日本語"),
        ("日本語", 5, "日本"),
        ("e\u0301e\u0301e\u0301", 2, "e\u0301e\u0301"),
        ("x", 0, ""),
    ],
)
def test_a_line_is_clipped_by_the_cells_that_it_takes(text: str, cells: int, shown: str) -> None:
    assert clipped(text, cells) == shown
    assert width(clipped(text * 500, cells)) <= cells


def test_a_line_says_what_matters_in_each_state() -> None:
    records = [
        record("attempt_started", "a"),
        record("waiting", "a", after_s=2, reason="waits for its place"),
        record("attempt_running", "a", after_s=10, node="node-1"),
        record("progress", "a", after_s=18, step=1, total_steps=200, loss=2.5, phase="train"),
        record("progress", "a", after_s=20, step=51, total_steps=200, epoch=1.25, loss=0.123456,
               samples_per_s=4321.0, phase="train"),
        record("progress", "a", after_s=50, step=200, total_steps=200, phase="measure"),
        record("metrics", "a", after_s=51, points=[["test/accuracy", None, 0.95]]),
        record("task_ended", "a", after_s=52, status="finished", error=None),
    ]  # fmt: skip

    def after(count: int) -> str:
        state = fold(records[:count], ["a"])
        return line(state.tasks["a"], (state.latest_s or START_S) + 0.0)

    assert [after(count) for count in range(6)] == [
        "pending",
        "starting",
        "waits for its place",
        "running  on node-1",
        # The first step pays for what happens once: there is no rate to go by yet.
        "running  step 1/200  loss 2.5",
        # Fifty steps in the two seconds since, so 149 take six more.
        "running  step 51/200  loss 0.123  4.32 k samples/s  6.0 s left",
    ]
    assert after(6) == "running  measuring"
    # Of the 52 s it waited ten for its place.
    assert after(8) == "finished  42.0 s  test/accuracy 0.9500"


LOST = {"type": "Lost", "message": "the worker was killed\x1b[2J (SIGKILL)", "hint": ""}


def again(end: str, error: dict[str, Any] | None = LOST) -> list[Record]:
    """A task whose first attempt ends so after 60 of 1,000 steps, and whose second goes on."""

    def second(event: str, after_s: float, **data: Any) -> Record:
        return replace(record(event, "a", after_s=after_s, **data), attempt=2)

    step = {"total_steps": 1000, "phase": "train"}
    return [
        record("attempt_started", "a"),
        record("attempt_running", "a", after_s=1, node="node-1"),
        record("progress", "a", after_s=2, step=60, **step),
        record("attempt_ended", "a", after_s=3, status=end, error=error),
        second("attempt_started", 4),
        second("attempt_running", 5, node="node-1"),
        second("metrics", 6, points=[[RESUMED, None, 50.0]]),
        second("progress", 7, step=51, **step),
        second("metrics", 8, points=[["train/loss", 55, 0.5]]),
        second("progress", 9, step=71, **step),
    ]


@pytest.mark.parametrize(
    ("end", "error", "told"),
    [
        ("lost", LOST, "attempt 1 was lost: the worker was killed (SIGKILL); attempt 2 starts"),
        ("lost", None, "attempt 1 was lost; attempt 2 starts"),
        ("cancelled", None, "attempt 1 was cancelled; attempt 2 starts"),
    ],
)
def test_another_attempt_is_told_with_why_and_from_where(
    end: str, error: dict[str, Any] | None, told: str
) -> None:
    stream = StringIO()
    with Live("run", plan({"a": ()}), stream) as live:
        for each in again(end, error):
            live.observe(each)
    lines = [text.partition("] ")[2] for text in stream.getvalue().splitlines()[1:]]
    assert lines == [
        "a: starting",
        "a: running  on node-1",
        f"a: {told}",
        "a: running  attempt 2  on node-1",
        "a: attempt 2 goes on from step 50",
    ]


def test_a_resumed_run_tells_of_the_attempts_before_it_and_not_again_what_they_were() -> None:
    stream = StringIO()
    records = again("cancelled", None)
    with Live("run", plan({"a": (), "b": ()}), stream, records[:4]) as live:
        for each in records[4:6]:
            live.observe(each)
    assert [text.partition("] ")[2] for text in stream.getvalue().splitlines()[1:]] == [
        "a: attempt 1 was cancelled; attempt 2 starts",
        "a: running  attempt 2  on node-1",
    ]


def test_between_two_attempts_a_line_names_neither() -> None:
    records = again("cancelled", None)
    resumed = [*records[:4], record("run_ended", status="cancelled"), record("run_started")]
    assert line(fold(resumed, ["a"]).tasks["a"], START_S + 4) == "starts again"
    assert line(fold(again("lost")[:4], ["a"]).tasks["a"], START_S + 4) == "starts again"
    assert line(fold(again("lost")[:5], ["a"]).tasks["a"], START_S + 4) == "starting  attempt 2"


def test_the_time_left_is_at_the_rate_of_this_attempt() -> None:
    state = fold(again("lost"))
    # Twenty steps in its two seconds; the fifty that it took up took it no time at all.
    assert line(state.tasks["a"], START_S + 9).endswith("step 71/1000  1 min 33 s left")
    # As time goes by it gets less, and never less than none.
    assert line(state.tasks["a"], START_S + 49).endswith("52.9 s left")
    assert line(state.tasks["a"], START_S + 999).endswith("0.0 s left")


def streamed() -> list[Record]:
    """A training that reads its data for a minute before its steps, ten a second."""
    return [
        record("attempt_started", "a"),
        record("attempt_running", "a", after_s=1, node="node-1"),
        record("progress", "a", after_s=2, step=0, total_steps=1, phase="survey"),
        record("progress", "a", after_s=62, step=1, total_steps=200, phase="train"),
        record("progress", "a", after_s=64, step=21, total_steps=200, phase="train"),
    ]


def test_while_data_is_read_there_is_no_step_to_show() -> None:
    state = fold(streamed()[:3])
    assert line(state.tasks["a"], START_S + 2) == "running  reading the data"
    shown = StringIO()
    with Live("run", plan({"a": ()}), shown) as live:
        for each in streamed():
            live.observe(replace(each, at_s=each.at_s + 10 * (each.data.get("step") is not None)))
    assert "a: running  reading the data\n" in shown.getvalue()
    assert "step 0/1" not in shown.getvalue()


def test_the_time_left_does_not_count_the_reading_of_the_data() -> None:
    first = fold(streamed()[:4]).tasks["a"]
    assert line(first, START_S + 62) == "running  step 1/200"
    later = fold(streamed()).tasks["a"]
    assert line(later, START_S + 64) == "running  step 21/200  17.9 s left"


def test_another_attempt_that_streams_tells_that_it_starts_anew() -> None:
    shown = StringIO()
    again = [replace(each, attempt=2, at_s=each.at_s + 100) for each in streamed()]
    with Live("run", plan({"a": ()}), shown) as live:
        for each in [*streamed(), record("attempt_ended", "a", after_s=70, status="lost"), *again]:
            live.observe(each)
    assert shown.getvalue().count("attempt 2 starts from step 0: it found no checkpoint\n") == 1


def test_a_plain_line_that_says_nothing_new_is_not_repeated() -> None:
    shown = StringIO()
    with Live("run", plan({"a": ()}), shown) as live:
        for each in streamed()[:2]:
            live.observe(each)
        for after_s in (10, 20, 30):
            live.observe(record("fact", "a", after_s=after_s, name="data", text=f"{after_s}"))
        live.observe(streamed()[-1])
    assert [text.partition("] ")[2] for text in shown.getvalue().splitlines()[1:]] == [
        "a: starting",
        "a: running  on node-1",
        "a: running  step 21/200",
    ]


def test_on_a_terminal_what_is_told_of_attempts_stays_above_the_lines_redrawn() -> None:
    ours, theirs = terminal(columns=100, rows=10)
    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        with Live("run", plan({"a": ()}), stream) as live:
            for each in again("lost"):
                live.observe(each)
            during = read_until(ours, "attempt 2 goes on from step 50")
        after = read_until(ours, "attempt 2")
    os.close(ours)
    screen = Screen(100)
    screen.feed((during + after).partition("\n")[2])
    assert screen.wrapped == 0
    assert [text.partition("] ")[2] for text in screen.lines[:2]] == [
        "a: attempt 1 was lost: the worker was killed (SIGKILL); attempt 2 starts",
        "a: attempt 2 goes on from step 50",
    ]
    assert "a  running  attempt 2  step 71/1000" in screen.lines[2]
    assert not "".join(screen.lines[3:])


def test_what_a_task_says_of_its_failure_cannot_move_the_cursor() -> None:
    error = {"type": "ValueError", "message": "\x1b[2Jgone\r\x07 bad\nsecond line"}
    state = fold(
        [
            record("attempt_started", "a"),
            record("attempt_ended", "a", after_s=1, status="failed", error=error),
            record("task_ended", "a", after_s=1, status="failed", error=error),
        ]
    )
    text = line(state.tasks["a"], START_S + 1)
    assert text.isprintable()
    assert "ValueError: gone" in text and "bad" in text
    assert "second" not in text


def test_a_task_that_did_not_finish_shows_no_accuracy() -> None:
    points = [["test/accuracy", 5, 0.75], ["test/accuracy", None, 0.95]]
    records = [
        record("attempt_started", "a"),
        record("metrics", "a", after_s=1, points=points),
        record("task_ended", "a", after_s=2, status="cancelled", error=None),
    ]
    assert line(fold(records).tasks["a"], START_S + 2) == "cancelled  2.0 s"


def test_more_tasks_than_rows_show_those_at_work_and_in_the_end_all() -> None:
    names = [f"task-{number}" for number in range(30)]
    ours, theirs = terminal(columns=60, rows=10)
    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        with Live("many", plan({name: () for name in names}), stream) as live:
            live.observe(record("attempt_started", "task-29"))
            live.observe(record("attempt_running", "task-29", after_s=1, node="node-1"))
            during = read_until(ours, "running  on node-1")
        after = read_until(ours, "task-29")
    os.close(ours)
    screen = Screen(60)
    screen.feed(during.partition("\n")[2])
    # No more than the terminal holds, or what has scrolled off would be drawn again and again.
    assert len(screen.lines) <= 10
    assert any("and 23 more" in text for text in screen.lines)
    assert "task-29" in screen.lines[0]
    assert [name for name in names if name in after] == names
