"""Plan and records → Report, and Report → the document that ``report.json`` holds."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from runner.model import Json, Record, TaskStatus
from runner.report.fold import AttemptState, Point, TaskState, fold, observed

SCHEMA = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskReport:
    """What became of one task: as planned, as it went, what it measured and what it made.

    ``planned`` is the task as ``plan.json`` has it, its parameters with every default filled in.
    ``duration_s`` is what its attempts took together, less their waits for a place. ``node`` is
    where its last attempt ran; ``folder`` that attempt's, relative to the run's.
    """

    name: str
    kind: str
    status: TaskStatus
    started_s: float | None
    ended_s: float | None
    duration_s: float | None
    depends_on: tuple[str, ...]
    planned: Mapping[str, Any]
    placement: Mapping[str, Any]
    batches: Mapping[str, Any] | None
    node: str | None
    folder: str | None
    environment: Mapping[str, Any]
    metrics: Mapping[str, float]
    series: Mapping[str, list[Point]]
    artifacts: Mapping[str, Mapping[str, Any]]
    error: Mapping[str, Any] | None
    attempts: tuple[AttemptState, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A run summed up. Times are Unix times; ``storage`` is where the run folder lies, if known.

    Its ``duration_s`` leaves out its ``pauses``, from when it stopped until it was resumed.
    """

    run: str
    job: str
    status: TaskStatus
    started_s: float | None
    ended_s: float | None
    duration_s: float | None
    pauses: tuple[tuple[float, float], ...]
    environment: Mapping[str, Any]
    cluster: Mapping[str, Any]
    tasks: tuple[TaskReport, ...]
    file: str
    command: str
    spec: Mapping[str, Any]
    storage: str | None


def summarise(
    plan_document: Mapping[str, Any],
    records: Iterable[Record],
    *,
    driver_alive: bool = True,
    storage: str | None = None,
) -> Report:
    """Sum up a run from its plan (``plan.json`` as read) and its records, in the order written.

    ``driver_alive`` is for a run whose records have no end: False makes it lost. What has not
    ended is as long as its records reach.
    """
    planned = {each["task"]["name"]: each for each in plan_document["tasks"]}
    state = observed(fold(records, planned), driver_alive=driver_alive)
    job = plan_document["job"]
    return Report(
        run=state.run,
        job=job["name"],
        status=state.status,
        started_s=state.started_s,
        ended_s=state.ended_s,
        duration_s=state.duration_s,
        pauses=tuple(state.pauses),
        environment=state.environment,
        cluster=state.cluster or {"source": plan_document["cluster"]},
        tasks=tuple(
            _task(task, planned[task.name], state.latest_s, _inside(storage, state.run))
            for task in state.tasks.values()
            if task.name in planned
        ),
        file=job["file"],
        command=command(job["file"], job["overrides"]),
        spec=job["spec"],
        storage=storage,
    )


def _task(
    task: TaskState, planned: Mapping[str, Any], latest_s: float | None, run_folder: str
) -> TaskReport:
    last = task.last
    error = task.error or (last.error if last and task.status != "finished" else None)
    if error and last and last.running_s is not None and not error.get("log"):
        error = {**error, "log": f"{run_folder}{task.name}/{last.number}/log.txt"}
    return TaskReport(
        name=task.name,
        kind=planned["task"]["kind"],
        status=task.status,
        started_s=task.started_s,
        ended_s=task.ended_s,
        duration_s=task.duration_s(latest_s),
        depends_on=tuple(planned["task"]["depends_on"]),
        planned=planned["task"],
        placement=(last.placement if last else None) or planned["placement"],
        batches=planned["batches"],
        node=last.node if last else None,
        folder=f"{task.name}/{last.number}" if last else None,
        environment=last.environment if last else {},
        metrics=last.metrics if last else {},
        series=task.series(),
        artifacts=last.artifacts if last else {},
        error=error,
        attempts=tuple(task.attempts),
    )


def _inside(storage: str | None, run: str) -> str:
    """What leads into the run's folder: nothing, where it is not known where that lies."""
    return f"{storage}/{run}/" if storage and run else ""


def document(report: Report) -> dict[str, Json]:
    """The report as JSON data: times are ISO 8601 in UTC, a number that is not finite is null."""
    content = {
        "schema": SCHEMA,
        "run": report.run,
        "job": report.job,
        "status": report.status,
        "started": _iso(report.started_s),
        "ended": _iso(report.ended_s),
        "duration_s": _rounded(report.duration_s),
        "environment": report.environment,
        "cluster": report.cluster,
        "tasks": {task.name: _task_document(task) for task in report.tasks},
        "file": report.file,
        "command": report.command,
        "spec": report.spec,
        "storage": report.storage,
    }
    return {key: _json(value) for key, value in content.items()}


def to_json(report: Report) -> str:
    """The text of ``report.json``: the document, indented, in ASCII."""
    return json.dumps(document(report), indent=2, allow_nan=False) + "\n"


def _task_document(task: TaskReport) -> dict[str, Any]:
    return {
        "kind": task.kind,
        "status": task.status,
        "attempts": len(task.attempts),
        "started": _iso(task.started_s),
        "ended": _iso(task.ended_s),
        "duration_s": _rounded(task.duration_s),
        "depends_on": task.depends_on,
        "placement": task.placement,
        "batches": task.batches,
        "node": task.node,
        "folder": task.folder,
        "environment": task.environment,
        "metrics": task.metrics,
        "series": task.series,
        "artifacts": task.artifacts,
        "error": task.error,
        "history": [_attempt_document(attempt) for attempt in task.attempts],
    }


def _attempt_document(attempt: AttemptState) -> dict[str, Any]:
    return {
        "attempt": attempt.number,
        "status": attempt.status,
        "started": _iso(attempt.started_s),
        "running": _iso(attempt.running_s),
        "ended": _iso(attempt.ended_s),
        "node": attempt.node,
        "max_rows": attempt.max_rows,
        "error": attempt.error,
    }


def command(file: str, overrides: Iterable[str]) -> str:
    """What to type to submit a spec again."""
    if not file:  # the one job that comes from no file
        return "runner nodes --bench"
    words = ["runner", "submit", file]
    for override in overrides:
        words += ["--set", override]
    return shlex.join(words)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _iso(at_s: float | None) -> str | None:
    if at_s is None:
        return None
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _json(value: Any) -> Json:
    if isinstance(value, Mapping):
        return {str(key): _json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_json(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
