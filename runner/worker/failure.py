"""An exception as data: what it says, and the frames that its reader wrote first."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Any

from runner.errors import RunnerError


def failure(error: BaseException, workdir: str | None) -> dict[str, Any]:
    """``type``, ``message``, ``hint`` and ``frames`` of an error; its traceback goes to stderr.

    ``frames`` are ``file:line in function: source``, innermost first: those of the user's code,
    then all others. An error that runner raises on purpose needs none.
    """
    traceback.print_exception(error, file=sys.stderr)
    sys.stderr.flush()
    if isinstance(error, RunnerError):
        return {
            "type": type(error).__name__,
            "message": error.message,
            "hint": error.hint,
            "frames": [],
        }
    user: list[str] = []
    others: list[str] = []
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        own = workdir is not None and Path(frame.filename).is_relative_to(workdir)
        name = str(Path(frame.filename).relative_to(workdir)) if own and workdir else frame.filename
        line = f"{name}:{frame.lineno} in {frame.name}" + (f": {frame.line}" if frame.line else "")
        (user if own else others).append(line)
    message = str(error) or ("the code called sys.exit" if isinstance(error, SystemExit) else "")
    return {
        "type": type(error).__name__,
        "message": message,
        "hint": "",
        "frames": user + others,
        "user_frames": len(user),
    }
