"""Records → the state of a run. The live view, ``status``, ``list`` and the report all fold here.

A fold is total: a record that says less than it should (a file may be torn anywhere, and a newer
runner may write events this one does not know) changes what it can and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, get_args

from runner.errors import fewer_rows
from runner.model import Progress, Record, TaskStatus

Point = tuple[int, float]

# The metric by which an attempt tells at which step it went on where an earlier one was.
RESUMED = "checkpoint/resumed_at_step"

# Phases of an attempt before and after its steps, whose progress says nothing of these; in words.
BESIDE_STEPS = {
    "survey": "reading the data",
    "export": "exporting",
    "measure": "measuring",
}


@dataclass(kw_only=True, slots=True)
class AttemptState:
    """One try at a task, as far as its records go. Times are Unix times.

    ``started_s`` is when its gang was asked for, ``running_s`` when its worker was up,
    ``progress_s`` when it last told how far it is, ``first_progress`` when it first did so of its
    steps, and at which. ``has_waited`` is whether its place was not free when it was asked for.
    ``summary`` holds the metrics without a step, ``series`` the others, in the order in which they
    came.
    """

    number: int
    status: TaskStatus = "running"
    started_s: float | None = None
    running_s: float | None = None
    ended_s: float | None = None
    node: str | None = None
    waiting: str | None = None
    has_waited: bool = False
    placement: Mapping[str, Any] = field(default_factory=dict)
    max_rows: int | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress | None = None
    progress_s: float | None = None
    first_progress: tuple[float, int] | None = None
    summary: dict[str, float] = field(default_factory=dict)
    series: dict[str, list[Point]] = field(default_factory=dict)
    artifacts: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The last value under each name; a summary figure wins over the end of a series.

        What a series says of the held-out data is of a model in memory, not of what was kept, and
        is no figure of the attempt: it stays in ``series``.
        """
        ends = {name: points[-1][1] for name, points in self.series.items() if not held_out(name)}
        return ends | self.summary

    @property
    def left_s(self) -> float | None:
        """The time from its latest progress to its last step, at its rate since the first one.

        What comes before, in the first step, while data is read or in another attempt, says nothing
        of that rate; None until there is one.
        """
        if self.progress is None or self.progress_s is None or self.first_progress is None:
            return None
        if self.progress.phase in BESIDE_STEPS:
            return None
        first_s, first_step = self.first_progress
        steps, seconds = self.progress.step - first_step, self.progress_s - first_s
        if steps <= 0 or seconds <= 0:
            return None
        return max(0, self.progress.total_steps - self.progress.step) * seconds / steps

    def waited_s(self, until_s: float | None) -> float:
        """How long it waited for its place, up to ``until_s`` where it still does."""
        end_s = _first(self.running_s, self.ended_s, until_s)
        if not self.has_waited or self.started_s is None or end_s is None:
            return 0.0
        return max(0.0, end_s - self.started_s)

    def duration_s(self, until_s: float | None) -> float | None:
        """How long it took, up to ``until_s`` where it goes on, less its wait for its place.

        None if it was never started, or where its end isn't known.
        """
        end_s = _first(self.ended_s, until_s)
        if self.started_s is None or end_s is None:
            return None
        return max(0.0, end_s - self.started_s - self.waited_s(end_s))


@dataclass(kw_only=True, slots=True)
class TaskState:
    """A task and its attempts in order. What it measured and made is its last attempt's alone,
    but for series of an attempt that went on where another was.
    """

    name: str
    status: TaskStatus = "pending"
    ended_s: float | None = None
    error: Mapping[str, Any] | None = None
    attempts: list[AttemptState] = field(default_factory=list)

    @property
    def last(self) -> AttemptState | None:
        """The latest attempt, or None if the task was never started."""
        return self.attempts[-1] if self.attempts else None

    @property
    def started_s(self) -> float | None:
        """When the first attempt was started."""
        return next((a.started_s for a in self.attempts if a.started_s is not None), None)

    def duration_s(self, now_s: float | None) -> float | None:
        """The time that its attempts took together, up to ``now_s`` where one goes on.

        Their waits for a place are left out. None if it was never started.
        """
        until_s = _first(self.ended_s, now_s)
        each = [attempt.duration_s(until_s) for attempt in self.attempts]
        taken = [seconds for seconds in each if seconds is not None]
        return sum(taken) if taken else None

    def series(self) -> dict[str, list[Point]]:
        """The last attempt's series, after what it took up: the earlier ones' up to that step."""
        series: dict[str, list[Point]] = {}
        for attempt in self.attempts:
            resumed = attempt.summary.get(RESUMED)
            taken_up = -math.inf if resumed is None else resumed
            for name in {**series, **attempt.series}:
                kept = [point for point in series.get(name, []) if point[0] <= taken_up]
                new = attempt.series.get(name, [])
                again = {step for step, _ in new}  # a held-out score is taken again
                series[name] = [point for point in kept if point[0] not in again] + new
        return {name: points for name, points in series.items() if points}

    def attempt(self, number: int | None) -> AttemptState:
        """The attempt of that number, made if need be; without one, the latest."""
        if number is None:
            number = self.attempts[-1].number if self.attempts else 1
        for attempt in self.attempts:
            if attempt.number == number:
                return attempt
        attempt = AttemptState(number=number)
        self.attempts.append(attempt)
        self.attempts.sort(key=lambda each: each.number)
        return attempt


@dataclass(kw_only=True, slots=True)
class RunState:
    """A run as its records tell it. ``latest_s`` is the time of the newest one, heartbeats too.

    ``pauses`` are when it lay still, from its end (or its last record) until it was resumed.
    """

    run: str = ""
    job: str = ""
    status: TaskStatus = "running"
    started_s: float | None = None
    ended_s: float | None = None
    latest_s: float | None = None
    pauses: list[tuple[float, float]] = field(default_factory=list)
    driver: Mapping[str, Any] = field(default_factory=dict)
    cluster: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    tasks: dict[str, TaskState] = field(default_factory=dict)

    @property
    def duration_s(self) -> float | None:
        """The time that the run was at work, up to its newest record where it goes on."""
        end_s = _first(self.ended_s, self.latest_s)
        return None if end_s is None else at_work_s(self.started_s, end_s, self.pauses)

    def apply(self, record: Record) -> None:
        """Take in one record, in the order in which they were written."""
        before_s, self.latest_s = self.latest_s, _later(self.latest_s, record.at_s)
        if record.event == "run_started":
            self._start(record, before_s)
        elif record.event == "run_ended":
            self._end(_status(record.data.get("status"), "failed"), record.at_s)
        elif record.task is not None:
            task = self.tasks.setdefault(record.task, TaskState(name=record.task))
            if record.event == "task_ended":
                task.status = _status(record.data.get("status"), "failed")
                task.ended_s = record.at_s
                task.error = _mapping(record.data.get("error")) or None
            else:
                _apply_to_attempt(task, record)

    def _start(self, record: Record, before_s: float | None) -> None:
        """A run that starts again (resume) keeps what is finished; nothing else is running now."""
        data = record.data
        self.run = str(data.get("run") or self.run)
        self.job = str(data.get("job") or self.job)
        self.driver = _mapping(data.get("driver"))
        cluster = data.get("cluster")
        self.cluster = {"source": cluster} if isinstance(cluster, str) else _mapping(cluster)
        self.environment = _mapping(data.get("environment"))
        if self.started_s is None:
            self.started_s = record.at_s
        elif (stopped_s := _first(self.ended_s, before_s)) is not None:
            self.pauses.append((stopped_s, record.at_s))
        self.status, self.ended_s = "running", None
        for task in self.tasks.values():
            if task.status != "finished":
                _stop(task, "lost", before_s)
                task.status, task.ended_s, task.error = "pending", None, None

    def _end(self, status: TaskStatus, at_s: float) -> None:
        """No task outlives its run: what was still going was cancelled with it, or lost."""
        self.status, self.ended_s = status, at_s
        for task in self.tasks.values():
            if task.status == "running" and status == "cancelled":
                _stop(task, "cancelled", at_s)
            elif task.status == "running":
                _stop(task, "lost", at_s)
                task.error = _lost("the run ended while it was at work")
            elif task.status == "pending" and status == "cancelled":
                task.status = "cancelled"


def at_work_s(
    started_s: float | None, at_s: float, pauses: Iterable[tuple[float, float]]
) -> float | None:
    """For how long a run had been at work at a Unix time: since it started, less its pauses."""
    if started_s is None:
        return None
    paused_s = sum(max(0.0, min(until, at_s) - since) for since, until in pauses)
    return max(0.0, at_s - started_s - paused_s)


def held_out(name: str) -> bool:
    """Whether a metric is of the held-out data."""
    return name.startswith("test/")


def fold(records: Iterable[Record], tasks: Iterable[str] = ()) -> RunState:
    """The state after ``records``. ``tasks`` are the plan's: those never started are pending."""
    state = RunState(tasks={name: TaskState(name=name) for name in tasks})
    for record in records:
        state.apply(record)
    return state


def observed(state: RunState, *, driver_alive: bool) -> RunState:
    """The state as an onlooker must tell it: a run that has not ended, without a driver, is lost.

    Whether the driver lives is for the caller to find out. ``state`` itself is left as it is.
    """
    if driver_alive or state.ended_s is not None:
        return state
    state = deepcopy(state)
    state.status = "lost"
    which = {"pid": "?", "host": "?"} | dict(state.driver)
    for task in state.tasks.values():
        if task.status == "running":
            _stop(task, "lost", state.latest_s)
            task.error = _lost(
                f"the process that drove the run ({which['pid']} on {which['host']}) ended without "
                "a word: it was killed, or its machine went down"
            )
    return state


def _apply_to_attempt(task: TaskState, record: Record) -> None:
    data = record.data
    if record.event == "attempt_started":
        attempt = task.attempt(record.attempt)
        attempt.started_s, attempt.status = record.at_s, "running"
        attempt.placement = _mapping(data.get("placement"))
        attempt.max_rows = data["max_rows"] if isinstance(data.get("max_rows"), int) else None
        task.status, task.ended_s, task.error = "running", None, None
    elif record.event == "waiting":
        attempt = task.attempt(record.attempt)
        attempt.waiting, attempt.has_waited = str(data.get("reason") or ""), True
        task.status = "pending"
    elif record.event == "attempt_running":
        attempt = task.attempt(record.attempt)
        attempt.running_s, attempt.waiting = record.at_s, None
        attempt.node = str(data["node"]) if data.get("node") else None
        attempt.environment = _mapping(data.get("environment"))
        task.status = "running"
    elif record.event == "fact":
        attempt = task.attempt(record.attempt)
        told = {str(data.get("name") or ""): str(data.get("text") or "")}
        attempt.environment = {**attempt.environment, **told}
    elif record.event == "progress":
        attempt = task.attempt(record.attempt)
        attempt.progress, attempt.progress_s = _progress(data), record.at_s
        if attempt.first_progress is None and attempt.progress.phase not in BESIDE_STEPS:
            attempt.first_progress = record.at_s, attempt.progress.step
    elif record.event == "metrics":
        _add_points(task.attempt(record.attempt), data.get("points"))
    elif record.event == "artifact":
        task.attempt(record.attempt).artifacts[str(data.get("name") or "")] = {
            key: data.get(key) for key in ("path", "bytes", "sha256")
        }
    elif record.event == "attempt_ended":
        attempt = task.attempt(record.attempt)
        attempt.ended_s, attempt.waiting = record.at_s, None
        attempt.status = _status(data.get("status"), "failed")
        attempt.error = _mapping(data.get("error")) or None
        if attempt is task.last:
            # Whether it is tried again is the driver's to say; until then it waits for that.
            is_left_open = attempt.status == "lost" or fewer_rows(attempt.error) is not None
            task.status = "pending" if is_left_open else attempt.status


def _add_points(attempt: AttemptState, points: object) -> None:
    for point in points if isinstance(points, list | tuple) else ():
        if isinstance(point, list | tuple) and len(point) == 3:
            name, step, value = point
            if isinstance(step, int | float) and math.isfinite(step):
                attempt.series.setdefault(str(name), []).append((int(step), _number(value)))
            else:
                attempt.summary[str(name)] = _number(value)


def _progress(data: Mapping[str, Any]) -> Progress:
    def optional(name: str) -> float | None:
        value = _number(data.get(name))
        return value if math.isfinite(value) else None

    return Progress(
        step=int(optional("step") or 0),
        total_steps=int(optional("total_steps") or 0),
        epoch=optional("epoch"),
        samples_per_s=optional("samples_per_s"),
        loss=optional("loss"),
        phase=str(data.get("phase") or "train"),
    )


def _stop(task: TaskState, status: TaskStatus, at_s: float | None) -> None:
    task.status, task.ended_s = status, at_s
    for attempt in task.attempts:
        if attempt.ended_s is None:
            attempt.status, attempt.ended_s, attempt.waiting = status, at_s, None


def _lost(message: str) -> Mapping[str, Any]:
    """An error as the records have it, for what they have no error of."""
    return {"type": "Lost", "message": message, "hint": "", "frames": []}


def _number(value: object) -> float:
    """A number as it is; NaN for what is none, such as the null that JSON has for it."""
    return value if isinstance(value, int | float) else math.nan


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _status(value: object, otherwise: TaskStatus) -> TaskStatus:
    for status in get_args(TaskStatus):
        if status == value:
            known: TaskStatus = status
            return known
    return otherwise


def _first(*times: float | None) -> float | None:
    return next((each for each in times if each is not None), None)


def _later(a: float | None, b: float) -> float:
    return b if a is None else max(a, b)
