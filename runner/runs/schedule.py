"""Which task starts when, and what an attempt's end means: a state machine without clock or Ray.

The driver tells it what happened; it answers with what to do. Why an attempt ended decides, in one
table, what happens next:

    finished     the task is finished, and what waited for it may start
    failed       the task is failed; its code would fail again. But where a worker of a gang ran
                 out of memory, another attempt with half as many samples at once, however often
    timed_out    the task is timed_out
    lost         another attempt, up to retry.max_restarts; after that the task is lost
    cancelled    the task is cancelled

Whatever depends on a task that did not finish is skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runner.errors import fewer_rows
from runner.model import Plan, Task, TaskStatus


@dataclass(frozen=True, slots=True)
class Start:
    """Start this attempt at the task now."""

    task: str
    attempt: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Before:
    """What became of a task when its run went before: attempts made, whether one finished, the
    paths of what that one made, by name, and to how many samples at once memory had it come down.
    """

    attempts: int = 0
    is_finished: bool = False
    outputs: Mapping[str, str] = field(default_factory=dict)
    max_rows: int | None = None


@dataclass(frozen=True, slots=True)
class End:
    """The task has ended, for good."""

    task: str
    status: TaskStatus
    error: Mapping[str, Any] | None


class Schedule:
    """The state of a plan that is being carried out.

    ``before`` is what a run that is resumed had come to: what is finished stays so, attempts are
    numbered on, and are counted anew against ``retry.max_restarts``. ``max_rows`` holds for each
    task the most samples that a forward pass may see, None where memory has set no bound.
    """

    def __init__(self, plan: Plan, before: Mapping[str, Before] | None = None) -> None:
        self.tasks: dict[str, Task] = {planned.task.name: planned.task for planned in plan.tasks}
        self.before = {name: (before or {}).get(name, Before()) for name in self.tasks}
        self.status: dict[str, TaskStatus] = {
            name: "finished" if each.is_finished else "pending"
            for name, each in self.before.items()
        }
        self.attempts = {name: each.attempts for name, each in self.before.items()}
        self.max_rows = {name: each.max_rows for name, each in self.before.items()}
        self._not_counted = dict.fromkeys(self.tasks, 0)

    def begin(self) -> list[Start | End]:
        """What may start at once."""
        return self._ready()

    def ended(
        self, task: str, status: TaskStatus, error: Mapping[str, Any] | None
    ) -> list[Start | End]:
        """What follows from the end of the task's running attempt."""
        if status == "failed" and self._lower(task, error):
            self._not_counted[task] += 1
            return [self._start(task)]
        made = self.attempts[task] - self.before[task].attempts - self._not_counted[task]
        if status == "lost" and made <= self.tasks[task].retry.max_restarts:
            return [self._start(task)]
        self.status[task] = status
        actions: list[Start | End] = [End(task, status, error)]
        if status != "finished":
            actions += self._skip_after(task)
        return actions + self._ready()

    def cancel(self) -> list[End]:
        """The end of everything that has not ended."""
        ends = []
        for name, status in self.status.items():
            if status in ("pending", "running"):
                self.status[name] = "cancelled"
                ends.append(End(name, "cancelled", None))
        return ends

    @property
    def over(self) -> bool:
        """Whether every task has ended."""
        return all(status not in ("pending", "running") for status in self.status.values())

    @property
    def outcome(self) -> TaskStatus:
        """The run's status: finished only if every task is."""
        if not self.over:
            return "running"
        found = set(self.status.values())
        if found <= {"finished"}:
            return "finished"
        return "cancelled" if "cancelled" in found else "failed"

    def _lower(self, task: str, error: Mapping[str, Any] | None) -> bool:
        """Whether the task can go on with fewer samples at once than the attempt had."""
        fewer, before = fewer_rows(error), self.max_rows[task]
        if fewer is None or (before is not None and fewer >= before):
            return False
        self.max_rows[task] = fewer
        return True

    def _start(self, task: str) -> Start:
        self.status[task] = "running"
        self.attempts[task] += 1
        return Start(task, self.attempts[task])

    def _ready(self) -> list[Start | End]:
        return [
            self._start(name)
            for name, task in self.tasks.items()
            if self.status[name] == "pending"
            and all(self.status[other] == "finished" for other in task.depends_on)
        ]

    def _skip_after(self, ended: str) -> list[Start | End]:
        skipped: list[Start | End] = []
        causes = {ended}
        changed = True
        while changed:
            changed = False
            for name, task in self.tasks.items():
                cause = next((other for other in task.depends_on if other in causes), None)
                if self.status[name] == "pending" and cause is not None:
                    self.status[name] = "skipped"
                    causes.add(name)
                    changed = True
                    message = f"it depends on '{cause}', which is {self.status[cause]}"
                    error = {"type": "Skipped", "message": message, "hint": "", "frames": []}
                    skipped.append(End(name, "skipped", error))
        return skipped
