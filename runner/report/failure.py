"""What went wrong with a task, from the ``error`` of its records, in pieces to lay out.

``error`` is {type, message, hint, frames, user_frames, log}: ``frames`` are lines "file:line in
function: source", innermost first, the user's own before all others, ``user_frames`` how many those
are; ``log`` is where the whole of it lies, and ``rank`` is there where a gang's rank is meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runner.report.summary import Report, TaskReport
from runner.report.text import one_line, printable

# These tell by their message alone: errors that runner raises on purpose, and those that its
# driver finds out. The name of any other class says something to who wrote or called it.
OWN_TYPES = (
    "RunnerError", "TaskError", "OutOfMemory", "GateMissed", "UsageError", "Lost", "TimedOut",
    "Skipped",
)  # fmt: skip


# What of a traceback helps: the user's own frames and, of a library's, where it was raised; the way
# to there where none is the user's.
USER_FRAMES, OTHER_FRAMES, FRAMES_OF_OTHERS_ONLY = 12, 1, 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """``summary`` is one line; ``details`` is the rest of a long message.

    ``frames`` are lines, the last of which tells how many were left out, if any.
    """

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
    # What is wrong with the data or the spec, every rank meets alike.
    if isinstance(error.get("rank"), int) and kind != "TaskError":
        first = f"rank {error['rank']}: {first}"
    return Failure(
        summary=first or "no message",
        details=tuple(rest),
        frames=tuple(_frames(error)),
        hint=printable(_text(error.get("hint"))).strip(),
        log=one_line(_text(error.get("log"))),
    )


def _frames(error: Mapping[str, Any]) -> list[str]:
    frames = error.get("frames")
    every = [_text(each) for each in (frames if isinstance(frames, list | tuple) else [])]
    own = error.get("user_frames")
    own = own if isinstance(own, int) else 0
    kept = every[: min(own, USER_FRAMES)]
    kept += every[own:][: OTHER_FRAMES if kept else FRAMES_OF_OTHERS_ONLY]
    lines = [line for each in kept for line in printable(_in_package(each)).splitlines()]
    if len(every) > len(kept):
        more = len(every) - len(kept)
        lines.append(f"… {more} more frame{'' if more == 1 else 's'}, which the log has")
    return lines


def _in_package(frame: str) -> str:
    """A frame of an installed package by its path in there, which says as much on any machine."""
    path, found, rest = frame.partition(" in ")
    _, installed, inside = path.rpartition("/site-packages/")
    return f"{inside}{found}{rest}" if installed else frame


def failures(report: Report) -> list[tuple[TaskReport, Failure]]:
    """The tasks that went wrong themselves (not those skipped for it), and how."""
    return [
        (task, failure(task.error))
        for task in report.tasks
        if task.error and task.status != "skipped"
    ]


def _text(value: Any) -> str:
    return "" if value is None else str(value)
