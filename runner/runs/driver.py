"""The driver: carries out a plan on a connected cluster, and writes down what happens.

One function, whoever calls it: the command in its own process, the Python interface in one that
outlives a notebook's cell.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from threading import Event
from typing import Any

from runner.cluster.address import process_started
from runner.cluster.gang import CODE, Arrived, Gang, Gone, log_name, poll
from runner.errors import RunnerError, UsageError
from runner.kinds import find
from runner.model import Inventory, Order, Plan, PlannedTask, Record, TaskStatus
from runner.runs.folder import RunFolder, gone
from runner.runs.ranks import Ranks, Verdict
from runner.runs.references import resolve
from runner.runs.resuming import forget, place_anew
from runner.runs.schedule import Before, End, Schedule, Start
from runner.storage import Place
from runner.worker.failure import LAST_BYTES, crash

POLL_S = 0.2
CANCEL_CHECK_S = 0.5
HEARTBEAT_S = 10.0
# A placement that takes longer than this is worth a word to whoever watches.
WAITING_S = 2.0


def execute(
    plan: Plan,
    folder: RunFolder,
    *,
    session: AbstractContextManager[object],
    about: Mapping[str, Any],
    submitted_at_s: float,
    environment: Mapping[str, str],
    code: bytes | None,
    observe: Callable[[Record], None],
    cancelled: Event,
    before: Mapping[str, Before],
    look: Callable[[], Inventory],
) -> TaskStatus:
    """Carry out ``plan`` on the cluster of ``session``; returns the run's status.

    Args:
        plan: What to do; already saved in ``folder``.
        folder: Where records go.
        session: Entered for as long as Ray is needed. It may be without Ray once ``cancelled`` is
            set.
        about: What to note of the run's surroundings: ``cluster`` and ``environment``.
        submitted_at_s: Unix time of the command, from which the first step's time counts.
        environment: Where ``secrets`` are taken from.
        code: The user's code, packed, if the job brings any.
        observe: Called with every record, after it is written.
        cancelled: Set by the caller to end the run early; its workers are ended first.
        before: What a run that is resumed had come to; empty for a new one.
        look: What the cluster offers now, for an attempt whose place was lost.

    Raises RecordsError if the folder can't be written, or is moved or removed meanwhile: nobody
    could read what comes out, nor cancel it. The workers are ended then, as with any other error.
    """
    driver = _Driver(
        plan, folder, submitted_at_s, environment, code, observe, cancelled, before, look
    )
    return driver.run(session, about)


class _Driver:
    def __init__(
        self,
        plan: Plan,
        folder: RunFolder,
        submitted_at_s: float,
        environment: Mapping[str, str],
        code: bytes | None,
        observe: Callable[[Record], None],
        cancelled: Event,
        before: Mapping[str, Before],
        look: Callable[[], Inventory],
    ) -> None:
        self.look = look
        self.plan = plan
        self.folder = folder
        self.environment = environment
        self.observe = observe
        self.cancelled = cancelled
        self.schedule = Schedule(plan, before)
        self.planned: dict[str, PlannedTask] = {item.task.name: item for item in plan.tasks}
        self.gangs: dict[str, Gang] = {}
        self.ranks: dict[str, Ranks] = {}  # how far the running attempts' ranks have ended
        self.outputs: dict[tuple[str, str], str] = {
            (task, name): path
            for task, each in before.items()
            if each.is_finished
            for name, path in each.outputs.items()
        }
        self.submitted_at_s = submitted_at_s
        self.ready_at_s = dict.fromkeys(self.planned, submitted_at_s)
        self.started_at_s: dict[str, float] = {}  # gangs asked for, by task
        self.running_at_s: dict[str, float] = {}  # attempts whose worker is at work
        self.told_waiting: dict[str, str] = {}
        self.wrote_at_s = time.time()
        self.code = code

    def emit(self, event: str, task: str | None = None, **data: Any) -> None:
        attempt = self.schedule.attempts[task] if task else None
        whole_task = event == "task_ended"
        self.keep(Record(at_s=time.time(), event=event, task=task,
                         attempt=None if whole_task else attempt, data=data))  # fmt: skip

    def keep(self, record: Record) -> None:
        self.folder.append(record)
        self.wrote_at_s = time.time()
        self.observe(record)

    def run(self, session: AbstractContextManager[object], about: Mapping[str, Any]) -> TaskStatus:
        pid = os.getpid()
        driver = {"host": socket.gethostname(), "pid": pid, "started": process_started(pid)}
        self.emit("run_started", run=self.folder.run, job=self.plan.job.name, driver=driver,
                  submitted_at_s=self.submitted_at_s, **about)  # fmt: skip
        try:
            with session:
                self.carry_out()
        except BaseException as error:
            if not self.schedule.over:
                interrupted = isinstance(error, KeyboardInterrupt)
                self.emit("run_ended", status="cancelled" if interrupted else "failed")
            raise
        outcome = self.schedule.outcome
        self.emit("run_ended", status=outcome)
        return outcome

    def carry_out(self) -> None:
        """Start, listen and decide until every task has ended."""
        checked_at_s = 0.0
        try:
            if not self.cancelled.is_set():
                self.act(self.schedule.begin())
            while not self.schedule.over:
                for event in poll(list(self.gangs.values()), POLL_S):
                    self.take(event)
                now = time.time()
                if now - checked_at_s > CANCEL_CHECK_S:
                    checked_at_s = now
                    self.look_around(now)
                if self.cancelled.is_set():
                    self.cancel()
        finally:
            for task in list(self.gangs):
                self.stop(task)

    def stop(self, task: str) -> None:
        """End the attempt's workers, if any are left, and remove what was theirs alone."""
        gang = self.gangs.pop(task, None)
        if gang is not None:
            gang.stop()
            self.folder.forget_scratch(f"{task}/{gang.attempt}")

    def act(self, actions: list[Start | End] | list[End]) -> None:
        """Carry out what the schedule decided."""
        for action in actions:
            if isinstance(action, End):
                error = dict(action.error) if action.error else None
                self.emit("task_ended", action.task, status=action.status, error=error)
                if action.status == "finished":
                    forget(self.folder, action.task)
                self.ready_at_s.update(
                    (name, time.time())
                    for name, item in self.planned.items()
                    if action.task in item.task.depends_on
                )
            else:
                self.start(self.planned[action.task], action.attempt)

    def start(self, planned: PlannedTask, attempt: int) -> None:
        task = planned.task
        if attempt > self.schedule.before[task.name].attempts + 1:
            planned = self.placed_anew(task.name)
        max_rows = self.schedule.max_rows[task.name]
        bound = {} if max_rows is None else {"max_rows": max_rows}
        self.emit("attempt_started", task.name, placement=asdict(planned.placement), **bound)
        try:
            order = Order(
                run=self.folder.run,
                task=task.name,
                attempt=attempt,
                kind=task.kind,
                params=resolve(task.params, self.outputs),
                folder=str(self.attempt_folder(task.name)),
                seed=task.seed,
                device=planned.placement.device,
                threads=max(1, int(task.resources.cpus)),
                ready_at_s=self.ready_at_s[task.name],
                timeout_s=task.timeout_s,
                earlier=tuple(
                    str(self.folder.path / task.name / str(earlier))
                    for earlier in range(attempt - 1, 0, -1)
                ),
                max_rows=max_rows,
            )
        except RunnerError as error:
            self.finish(task.name, "failed", _as_data(error))
            return
        self.started_at_s[task.name] = time.time()
        self.ranks[task.name] = Ranks(planned.placement.num_workers)
        self.gangs[task.name] = Gang(
            order,
            planned.placement,
            env={**find(task.kind).environment(task.params), **task.env},
            secrets={name: self.environment[name] for name in task.secrets},
            code=self.code,
        )

    def placed_anew(self, task: str) -> PlannedTask:
        """The task with a place on what the cluster offers now; where nothing does, its old one."""
        again = place_anew(self.plan.job, self.planned[task], self.look())
        self.planned[task] = again or self.planned[task]
        return self.planned[task]

    def has_lost_its_place(self, task: str) -> bool:
        """Whether a node that the task was to run on is down, and there is another place now.

        Ray goes on waiting for such a node, and may call it busy.
        """
        before = self.planned[task].placement
        alive = {node.id for node in self.look().nodes}
        if alive.issuperset(before.node_ids):
            return False
        return self.placed_anew(task).placement != before

    def take(self, event: Arrived | Gone) -> None:
        """A gang sent a record, or its stream ended."""
        task = event.gang.task
        if self.gangs.get(task) is not event.gang:
            return  # of an attempt that was ended meanwhile
        if isinstance(event, Gone):
            message = event.lost or "the worker ended without a word"
            error = {"type": "Lost", "message": message, "hint": event.hint, "frames": []}
            here = f"{task}/{self.schedule.attempts[task]}"
            log = self.folder.end_of_log(
                f"{here}/{log_name(event.rank)}", LAST_BYTES, may_come=not event.with_node
            )
            told = crash(log, f"{self.folder.run}/{here}/{CODE}") or error
            self.settle(task, self.ranks[task].end(event.rank, "lost", told, time.time()))
            return
        record = event.record
        if record.event == "attempt_ended":
            status, failure = record.data["status"], record.data["error"]
            self.settle(task, self.ranks[task].end(event.rank, status, failure, time.time()))
            return
        if event.rank > 0:
            return  # one rank's word that it runs is enough
        if record.event == "attempt_running":
            self.running_at_s[task] = time.time()
            record = replace(record, data={**record.data, "node": self.node_name(record)})
        elif record.event == "artifact":
            self.outputs[task, record.data["name"]] = record.data["path"]
        self.keep(record)

    def node_name(self, record: Record) -> str:
        """The name that the plan gave the node, or its host's where the plan only knew a type."""
        placement = self.planned[record.task or ""].placement
        names = dict(zip(placement.node_ids, placement.nodes, strict=False))
        return names.get(record.data.get("node_id", ""), str(record.data["host"]))

    def attempt_folder(self, task: str) -> Place:
        """Where the latest attempt at the task keeps its log and all it makes."""
        return self.folder.path / task / str(self.schedule.attempts[task])

    def settle(self, task: str, verdict: Verdict | None) -> None:
        """The running attempt is over if its ranks came to a verdict."""
        if verdict is not None:
            self.finish(task, verdict.status, verdict.error, verdict.rank)

    def finish(
        self, task: str, status: TaskStatus, error: Mapping[str, Any] | None, rank: int = 0
    ) -> None:
        """The running attempt at ``task`` is over, by what happened to ``rank``."""
        self.stop(task)
        self.running_at_s.pop(task, None)
        self.told_waiting.pop(task, None)  # another attempt may wait for the same
        if error is not None:
            error = {**error, "log": str(self.attempt_folder(task) / log_name(rank))}
        self.emit("attempt_ended", task, status=status, error=error)
        self.ready_at_s[task] = time.time()  # if there is another attempt
        self.act(self.schedule.ended(task, status, error))

    def look_around(self, now: float) -> None:
        """What no gang tells by itself: a wish to cancel, attempts over time, places not free."""
        if self.folder.cancel_requested():
            self.cancelled.set()
        if not self.folder.is_there():
            raise gone(self.folder.path)
        for task, ranks in list(self.ranks.items()):
            if task in self.gangs:
                self.settle(task, ranks.wait_over(now))
        for task, since in list(self.running_at_s.items()):
            limit = self.planned[task].task.timeout_s
            if limit is not None and now - since > limit:
                message = f"it ran longer than its timeout of {limit:g} s"
                error = {"type": "TimedOut", "message": message, "hint": "", "frames": []}
                self.finish(task, "timed_out", error)
        for task, gang in list(self.gangs.items()):
            if task not in self.running_at_s and now - self.started_at_s[task] > WAITING_S:
                reason = gang.waiting()
                if reason is not None and self.has_lost_its_place(task):
                    self.stop(task)
                    self.start(self.planned[task], self.schedule.attempts[task])
                    continue
                if reason is not None and self.told_waiting.get(task) != reason:
                    self.told_waiting[task] = reason
                    self.emit("waiting", task, reason=_WAITING[reason])
        if now - self.wrote_at_s > HEARTBEAT_S:
            self.emit("heartbeat")

    def cancel(self) -> None:
        """End every worker, then everything else."""
        for task in list(self.gangs):
            self.stop(task)
            self.emit("attempt_ended", task, status="cancelled", error=None)
        self.act(self.schedule.cancel())


_WAITING = {
    "busy": "waits for its place: what it asks for is in use",
    "infeasible": "waits for a node: none that is up could hold it",
}


def _as_data(error: RunnerError) -> dict[str, Any]:
    return {
        "type": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "frames": [],
    }


def check_secrets(plan: Plan, environment: Mapping[str, str]) -> None:
    """Raises UsageError if a secret that a task asks for is not in ``environment``."""
    for planned in plan.tasks:
        for name in planned.task.secrets:
            if name not in environment:
                raise UsageError(
                    f"the task '{planned.task.name}' asks for the secret {name}, "
                    "which the environment does not have",
                    hint=f"{name}=... runner submit ...",
                )
