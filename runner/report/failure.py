"""What went wrong with a task, from the ``error`` of its records, in pieces to lay out.

``error`` is {type, message, hint, frames, log}: ``frames`` are lines or blocks of a traceback,
the user's own first; ``log`` is where the whole of it lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runner.report.text import one_line, printable

# Errors of runner's own tree tell by their message alone; their class says nothing to a user.
OWN_TYPES = ("RunnerError", "TaskError")


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


def _text(value: Any) -> str:
    return "" if value is None else str(value)
