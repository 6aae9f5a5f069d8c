"""What a run had come to, for one that goes on with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from runner.errors import PlanError, UsageError
from runner.model import Inventory, Job, Plan, PlannedTask
from runner.plan import place
from runner.report.fold import TaskState, fold
from runner.runs.finding import is_running
from runner.runs.folder import RunFolder
from runner.runs.schedule import Before


def before(folder: RunFolder) -> dict[str, Before]:
    """How far each task of the run came.

    What a finished task made must still be there, or it counts as not finished. Raises UsageError
    if the run is still going, or if there is nothing left to do.
    """
    records = folder.records()
    if is_running(folder, records):
        raise UsageError(
            f"{folder.run} is still running", hint=f"'runner cancel {folder.run}' ends it"
        )
    found = {name: _before(task) for name, task in fold(records).tasks.items()}
    if all(name in found and found[name].is_finished for name in _names(folder.plan().job)):
        raise UsageError(
            f"every task of {folder.run} is finished; nothing is left to resume",
            hint=f"'runner report {folder.run}' shows what came of it",
        )
    return found


def plan_again(old: Plan, inventory: Inventory, done: dict[str, Before]) -> Plan:
    """``old`` with a new place for every task that is not finished. Raises PlanError."""
    left = {name for name in _names(old.job) if not done.get(name, Before()).is_finished}
    again = place(_only(old.job, left), inventory)
    placed = {planned.task.name: planned for planned in again.tasks}
    return replace(
        again,
        job=old.job,
        tasks=tuple(
            replace(placed[each.task.name], task=each.task) if each.task.name in left else each
            for each in old.tasks
        ),
    )


def place_anew(job: Job, planned: PlannedTask, inventory: Inventory) -> PlannedTask | None:
    """A task of ``job`` with a place on what there is now; None if it fits nowhere any more."""
    try:
        (again,) = place(_only(job, {planned.task.name}), inventory).tasks
    except PlanError:
        return None
    return replace(again, task=planned.task, wave=planned.wave)


def _only(job: Job, names: set[str]) -> Job:
    return replace(
        job,
        tasks=tuple(
            replace(task, depends_on=tuple(name for name in task.depends_on if name in names))
            for task in job.tasks
            if task.name in names
        ),
    )


def _before(task: TaskState) -> Before:
    last = task.last
    outputs = {} if last is None else {
        name: str(artifact["path"]) for name, artifact in last.artifacts.items()
    }  # fmt: skip
    is_there = all(Path(path).exists() for path in outputs.values())
    return Before(
        attempts=max((attempt.number for attempt in task.attempts), default=0),
        is_finished=task.status == "finished" and is_there,
        outputs=outputs,
    )


def _names(job: Job) -> list[str]:
    return [task.name for task in job.tasks]
