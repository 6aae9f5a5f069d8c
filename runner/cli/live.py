"""What a person sees while a run goes: a line a task, redrawn in place on a terminal."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from threading import Event, Lock, Thread
from typing import TextIO

import click

from runner.cli.errors import colour
from runner.cli.output import silence
from runner.model import Plan, Record
from runner.report.failure import failure
from runner.report.fold import BESIDE_STEPS, RESUMED, AttemptState, RunState, TaskState, fold
from runner.report.format import at_once, count, duration
from runner.report.text import one_line, width

REDRAW_S = 0.2
PLAIN_S = 5.0
COLUMNS, ROWS = 80, 24  # where the terminal does not say how large it is
MARKS = {"finished": ("✓", "green"), "failed": ("✗", "red"), "lost": ("✗", "red"),
         "timed_out": ("✗", "red"), "cancelled": ("–", "yellow"), "skipped": ("–", "yellow"),
         "pending": ("·", None)}  # fmt: skip
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Live(AbstractContextManager["Live"]):
    """Shows a run's records on ``stream``: in place on a terminal, else in plain lines at times.

    That another attempt at a task begins, why, and where it goes on, stays on a line of its own.
    ``earlier`` are the records of a run that is resumed; they are not told again.
    """

    def __init__(
        self, run: str, plan: Plan, stream: TextIO, earlier: Iterable[Record] = ()
    ) -> None:
        self.state: RunState = fold(earlier, [planned.task.name for planned in plan.tasks])
        self.stream = stream
        self.is_terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self.colour = colour(stream)
        self.began_s = time.time()
        self.lock = Lock()
        self.ended = Event()
        self.drawn = 0
        self.unseen = False
        self.said: dict[str, tuple[str, float, str]] = {}
        self.news: list[str] = []  # to stand above what is redrawn
        self.message = "starting"
        self.run = run

    def __enter__(self) -> Live:
        self._write(f"{self.run}\n")
        if self.is_terminal:
            self.thread = Thread(target=self._redraw, daemon=True)
            self.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.ended.set()
        if self.is_terminal:
            self.thread.join()
            with self.lock:
                self._draw(final=True)

    def observe(self, record: Record) -> None:
        """Take in a record of the run."""
        with self.lock:
            before = _resumed_at(self.state, record)
            self.state.apply(record)
            if record.event == "attempt_running":
                self.message = ""
            if record.task is None:
                return
            went_on = _resumed_at(self.state, record) != before
            text = _news(self.state.tasks[record.task], record, went_on=went_on)
            if text:
                after_s = max(0.0, record.at_s - self.began_s)
                self.news.append(f"[{after_s:6.1f} s] {record.task}: {text}\n")
            if not self.is_terminal:
                self._tell(record)

    def say(self, message: str) -> None:
        """Show a message about the run as a whole."""
        self.message = message
        if not self.is_terminal:
            self._write(message + "\n")

    def _tell(self, record: Record) -> None:
        """A plain line when a task's state changes, and every few seconds while it goes on.

        One that says nothing new is left out.
        """
        task = self.state.tasks[record.task or ""]
        text = line(task, self.state.latest_s or 0.0)
        kind = f"{task.status} {len(task.attempts)} {bool(task.last and task.last.running_s)}"
        before, at_s, told = self.said.get(task.name, ("", 0.0, ""))
        if record.event == "attempt_ended":
            return  # what it means for the task follows at once
        if self.news:
            self.said[task.name] = (kind, record.at_s, text)
            self._write(self._take_news())
        elif text != told and (kind != before or record.at_s - at_s >= PLAIN_S):
            self.said[task.name] = (kind, record.at_s, text)
            after_s = max(0.0, record.at_s - self.began_s)
            self._write(f"[{after_s:6.1f} s] {task.name}: {text}\n")

    def _take_news(self) -> str:
        text, self.news = "".join(self.news), []
        return text

    def _redraw(self) -> None:
        while not self.ended.wait(REDRAW_S):
            with self.lock:
                self._draw()

    def _draw(self, *, final: bool = False) -> None:
        if self.unseen:
            return
        size = os.get_terminal_size(self.stream.fileno())
        columns, rows = max(size.columns or COLUMNS, 2), size.lines or ROWS
        now_s = time.time()
        longest = max((len(name) for name in self.state.tasks), default=0)
        tasks = list(self.state.tasks.values())
        hidden = 0 if final else max(0, len(tasks) - (rows - 3))
        if hidden:  # what has scrolled off can't be redrawn, so those at work are shown first
            tasks = sorted(tasks, key=lambda task: task.status != "running")[:-hidden]
        lines = []
        for task in tasks:
            spin = SPINNER[int(now_s / REDRAW_S) % len(SPINNER)]
            mark, shade = MARKS.get(task.status, (spin, "cyan"))
            text = clipped(f"{mark} {task.name:<{longest}}  {line(task, now_s)}", columns - 1)
            lines.append(click.style(text[0], fg=shade) + text[1:] if self.colour else text)
        if hidden:
            lines.append(clipped(f"  and {hidden} more", columns - 1))
        if self.message and not final:
            text = f"  {self.message} ({now_s - self.began_s:.0f} s)"
            lines.append(clipped(text, columns - 1))
        up = f"\x1b[{self.drawn}F" if self.drawn else ""
        above = f"\x1b[J{self._take_news()}" if self.news else ""
        self._write(up + above + "".join(f"\x1b[2K{text}\n" for text in lines) + "\x1b[J")
        self.drawn = len(lines)

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError:  # whoever watched has gone, or the disk is full; the run goes on
            self.unseen = True
            silence(self.stream)


def clipped(text: str, cells: int) -> str:
    """As much of ``text`` as takes no more than that many cells of a terminal."""
    text = text[: 4 * cells]
    while width(text) > cells:
        text = text[:-1]
    return text


def line(task: TaskState, now_s: float) -> str:
    """One task in a line: its state and, while it runs, how far it is and how long it may take."""
    last = task.last
    if last is None:
        return task.status
    is_starting = task.status == "running" and last.running_s is None
    parts = ["starting" if is_starting else task.status.replace("_", " ")]
    if task.status == "pending" and last.ended_s is not None:
        return "starts again"
    if task.status == "pending":
        parts = [last.waiting or "pending"]
    if last.number > 1:
        parts.append(f"attempt {last.number}")
    if is_starting:
        return "  ".join(parts)
    progress = last.progress
    if task.status == "running" and progress is not None:
        beside = BESIDE_STEPS.get(progress.phase)
        parts += [beside] if beside else _how_far(last, now_s)
    elif task.status == "running":
        parts.append(f"on {last.node}")
    elif task.ended_s is not None and task.started_s is not None:
        parts.append(duration(task.duration_s(now_s)))
        accuracy = last.metrics.get("test/accuracy")
        if accuracy is not None and task.status == "finished":
            parts.append(f"test/accuracy {accuracy:.4f}")
    if task.error and task.status not in ("finished", "running"):
        parts.append(one_line(failure(task.error).summary))
    return "  ".join(parts)


def _how_far(last: AttemptState, now_s: float) -> list[str]:
    """Step, loss, rate and time left: short enough, beside a name, for 80 columns."""
    progress = last.progress
    if progress is None:
        return []
    parts = [f"step {progress.step}/{progress.total_steps}"]
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3g}")
    if progress.samples_per_s:
        parts.append(f"{count(progress.samples_per_s)} samples/s")
    if last.left_s:
        since_s = max(0.0, now_s - (last.progress_s or now_s))
        parts.append(f"{duration(max(0.0, last.left_s - since_s))} left")
    return parts


def _news(task: TaskState, record: Record, *, went_on: bool) -> str:
    """What a record says of a task's attempts that its line shows only for a moment, or not."""
    if record.event == "attempt_started":
        ended = [attempt for attempt in task.attempts if attempt.ended_s is not None]
        rows = None if task.last is None else task.last.max_rows
        bound = "" if rows is None else f" with at most {at_once(rows)}"
        return f"{_ending(ended[-1])}; attempt {record.attempt} starts{bound}" if ended else ""
    if went_on and task.last is not None:
        return f"attempt {record.attempt} goes on from step {task.last.summary[RESUMED]:.0f}"
    if _is_first_step(task.last, record):
        return f"attempt {record.attempt} starts from step 0: it found no checkpoint"
    return ""


def _is_first_step(last: AttemptState | None, record: Record) -> bool:
    """Whether another attempt at a training first says how far it is, and took nothing up."""
    return (
        record.event == "progress"
        and record.data.get("phase") == "train"
        and last is not None
        and last.number == record.attempt != 1
        and RESUMED not in last.summary
        and last.first_progress == (record.at_s, record.data.get("step"))
    )


def _ending(attempt: AttemptState) -> str:
    """'attempt 1 was lost: the worker was killed (SIGKILL)'."""
    how = {"lost": "was lost", "cancelled": "was cancelled", "timed_out": "ran out of time"}
    text = f"attempt {attempt.number} {how.get(attempt.status, attempt.status)}"
    return f"{text}: {one_line(failure(attempt.error).summary)}" if attempt.error else text


def _resumed_at(state: RunState, record: Record) -> float | None:
    """The step at which the record's attempt went on, as far as is known."""
    task = state.tasks.get(record.task or "")
    found = [each for each in task.attempts if each.number == record.attempt] if task else []
    return found[0].summary.get(RESUMED) if found else None
