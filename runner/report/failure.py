"""What went wrong with a task, from the ``error`` of its records, in pieces to lay out.

``error`` is {type, message, hint, frames, log}: ``frames`` are lines "file:line in function:
source", the user's own first; ``log`` is where the whole of it lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runner.report.summary import Report, TaskReport
from runner.report.text import one_line, printable

# These tell by their message alone: errors that runner raises on purpose, and those that its
# driver finds out. The name of any other class says something to who wrote or called it.
OWN_TYPES = ("RunnerError", "TaskError", "UsageError", "Lost", "TimedOut", "Skipped")


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """``summary`` is one line; ``details`` is the rest of a long message; ``frames`` are lines."""

    summary: str
    details: tuple[str, ...]
    frames: tuple[str, ...]
    hint: str
    log: str


def failure(error: Mapping[str, Any]) -> Failure:
    """Read an ``error`` as it stands in the records; what it lacks comes out empty."""
    message = printable(_text(error.get("message"))).strip()
    first, *rest = message.splitlines() or [""]
    kind = one_line(_text(error.get("type")))
    if kind and kind not in OWN_TYPES:
        first = f"{kind}: {first}" if first else kind
    frames = error.get("frames")
    blocks = frames if isinstance(frames, list | tuple) else [_text(frames)]
    return Failure(
        summary=first or "no message",
        details=tuple(rest),
        frames=tuple(line for each in blocks for line in printable(_text(each)).splitlines()),
        hint=printable(_text(error.get("hint"))).strip(),
        log=one_line(_text(error.get("log"))),
    )


def failures(report: Report) -> list[tuple[TaskReport, Failure]]:
    """The tasks that went wrong themselves (not those skipped for it), and how."""
    return [
        (task, failure(task.error))
        for task in report.tasks
        if task.error and task.status != "skipped"
    ]


def _text(value: Any) -> str:
    return "" if value is None else str(value)
