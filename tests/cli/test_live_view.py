"""What a person sees while a run goes: lines redrawn in place, or plain ones."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest

from runner.cli.live import Live, clipped, line
from runner.report.fold import fold
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
    max_steps: 8000
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
        record("progress", "a", after_s=20, step=50, total_steps=200, epoch=1.25, loss=0.123456,
               samples_per_s=4321.0, phase="train"),
        record("progress", "a", after_s=50, step=200, total_steps=200, phase="measure"),
        record("metrics", "a", after_s=51, points=[["test/accuracy", None, 0.95]]),
        record("task_ended", "a", after_s=52, status="finished", error=None),
    ]  # fmt: skip

    def after(count: int) -> str:
        state = fold(records[:count], ["a"])
        return line(state.tasks["a"], (state.latest_s or START_S) + 0.0)

    assert [after(count) for count in range(5)] == [
        "pending",
        "starting",
        "waits for its place",
        "running  on node-1",
        # A quarter is done ten seconds after the worker began, so thirty are left.
        "running  step 50/200  loss 0.123  4.32 k samples/s  30.0 s left",
    ]
    assert after(5) == "running  measuring"
    assert after(7) == "finished  52.0 s  test/accuracy 0.9500"


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
