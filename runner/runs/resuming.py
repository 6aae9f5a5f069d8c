"""What a run had come to, for one that goes on with it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from runner.errors import PlanError, StorageError, UsageError, fewer_rows
from runner.kinds.fitting import CHECKPOINTS
from runner.model import Inventory, Job, Plan, PlannedTask
from runner.plan import place
from runner.report.fold import TaskState, fold
from runner.runs.finding import is_running
from runner.runs.folder import RunFolder
from runner.runs.schedule import Before
from runner.storage import Remote, at


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
    names = _names(folder.plan().job)
    found = {
        name: _before(task, folder.attempts(name))
        for name, task in fold(records, names).tasks.items()
    }
    if all(found[name].is_finished for name in names):
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


def forget(folder: RunFolder, task: str) -> None:
    """Delete the checkpoints of a finished task, of all its attempts: nothing goes on from them."""
    with suppress(StorageError):  # what can't be deleted only takes up room
        for attempt in folder.attempts(task):
            checkpoints = folder.path / task / str(attempt) / CHECKPOINTS
            if isinstance(checkpoints, Remote):
                checkpoints.remove()
            else:
                shutil.rmtree(checkpoints, ignore_errors=True)


def _only(job: Job, names: set[str]) -> Job:
    return replace(
        job,
        tasks=tuple(
            replace(task, depends_on=tuple(name for name in task.depends_on if name in names))
            for task in job.tasks
            if task.name in names
        ),
    )


def _before(task: TaskState, seen: Sequence[int]) -> Before:
    """``seen`` are the attempts that left anything: of the last, a killed driver's records may not
    tell where storage is at a URI.
    """
    last = task.last
    outputs = {} if last is None else {
        name: str(artifact["path"]) for name, artifact in last.artifacts.items()
    }  # fmt: skip
    is_there = all(at(path).exists() for path in outputs.values())
    bounds = [rows for each in task.attempts if (rows := fewer_rows(each.error)) is not None]
    return Before(
        attempts=max([*(attempt.number for attempt in task.attempts), *seen], default=0),
        is_finished=task.status == "finished" and is_there,
        outputs=outputs,
        max_rows=min(bounds, default=None),
    )


def _names(job: Job) -> list[str]:
    return [task.name for task in job.tasks]
