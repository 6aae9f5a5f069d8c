"""Plans and run folders made by hand, for tests that need no cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runner.model import Job, Placement, Plan, PlannedTask, Record, Retry, Task
from runner.runs.folder import RunFolder

# Unix time of the first record of a run made by hand.
START_S = 1_795_000_000.0


def plan(depends_on: Mapping[str, Sequence[str]], *, max_restarts: int = 2) -> Plan:
    """A plan of evaluations; ``depends_on`` names each task and what it waits for."""
    tasks = [
        Task(
            name=name,
            kind="evaluate",
            params={"data": {"name": "digits"}},
            depends_on=tuple(others),
            retry=Retry(max_restarts=max_restarts),
        )
        for name, others in depends_on.items()
    ]
    placement = Placement(
        device="cpu", nodes=("here",), node_ids=(), demand={"CPU": 1.0}, reason="fits here"
    )
    job = Job(name="by-hand", tasks=tuple(tasks), spec={"name": "by-hand"}, file="by-hand.yaml")
    return Plan(
        job=job,
        cluster="by hand",
        tasks=tuple(
            PlannedTask(task=task, placement=placement, batches=None, wave=0) for task in tasks
        ),
    )


def run_folder(storage: Path, name: str, *tasks: str) -> RunFolder:
    """A run folder with a plan of independent tasks and no records."""
    return RunFolder.create(storage, name, plan({task: () for task in tasks or ("only",)}))


def record(event: str, task: str | None = None, *, after_s: float = 0.0, **data: Any) -> Record:
    """A record of the first attempt, ``after_s`` seconds into the run."""
    attempt = None if task is None or event == "task_ended" else 1
    return Record(at_s=START_S + after_s, event=event, task=task, attempt=attempt, data=data)


def finished_run(storage: Path, name: str, *tasks: str) -> RunFolder:
    """A run all of whose tasks finished, ten seconds each, with an accuracy of 0.9."""
    folder = run_folder(storage, name, *tasks)
    driver = {"host": "elsewhere", "pid": 1, "started": 1.0}
    folder.append(record("run_started", run=name, job="by-hand", driver=driver))
    for task in tasks or ("only",):
        folder.append(record("attempt_started", task, after_s=1, placement={}))
        folder.append(record("attempt_running", task, after_s=2, node="here", environment={}))
        points = [["train/loss", 5, 0.25], ["test/accuracy", None, 0.9]]
        folder.append(record("metrics", task, after_s=10, points=points))
        folder.append(record("attempt_ended", task, after_s=11, status="finished", error=None))
        folder.append(record("task_ended", task, after_s=11, status="finished", error=None))
    folder.append(record("run_ended", after_s=12, status="finished"))
    return folder
