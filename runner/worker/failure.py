"""An exception as data: what it says, and the frames that its reader wrote first."""

from __future__ import annotations

import re
import sys
import traceback
from linecache import getline
from pathlib import Path
from typing import Any

from runner.errors import OutOfMemory, RunnerError

# As much of a log as a crash is looked for in.
LAST_BYTES = 65_536
CRASH_HINT = (
    "compiled code that the task calls went wrong: a library's, or what ctypes or an extension does"
)
BY_OTHERS_HINT = "another rank ended or hangs; the log of each rank shows where it was"
_GLOO = "third_party/gloo|Connection (closed|reset) by peer|gloo.*[Tt]imed out"
_COLLECTIVE = "Collective ops is aborted|Collective has timed out"
_FATAL = re.compile(r"^Fatal Python error: (.+)\n", re.MULTILINE)
_FRAME = re.compile(r'^  File "(.+)", line (\d+) in (.+)$', re.MULTILINE)
_SIGNALS = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Illegal instruction": "SIGILL",
    "Floating point exception": "SIGFPE",
}


def failure(error: BaseException, workdir: str | None) -> dict[str, Any]:
    """``type``, ``message``, ``hint`` and ``frames`` of an error; its traceback goes to stderr.

    ``frames`` are ``file:line in function: source``, innermost first: those of the user's code,
    then all others. An error that runner raises on purpose needs none but those of the user's code
    that its cause came through; OutOfMemory has ``rows``.
    """
    traceback.print_exception(error, file=sys.stderr)
    sys.stderr.flush()
    if isinstance(error, RunnerError):
        told: dict[str, Any] = {
            "type": type(error).__name__,
            "message": error.message,
            "hint": error.hint,
            "frames": [],
        }
        found = _told(_frames(error.__cause__), workdir)
        if users := found["user_frames"]:
            told |= {"frames": found["frames"][:users], "user_frames": users}
        return told | ({"rows": error.rows} if isinstance(error, OutOfMemory) else {})
    message = _message(error) or (
        "the code called sys.exit" if isinstance(error, SystemExit) else ""
    )
    told = {"type": type(error).__name__, "message": message, "hint": ""}
    if is_by_others(error):
        told |= {"by_others": True, "hint": BY_OTHERS_HINT}
    return told | _told(_frames(error), workdir)


def _frames(error: BaseException | None) -> list[tuple[str, int, str, str]]:
    """File, line, function and source, innermost first."""
    return [
        (frame.filename, frame.lineno or 0, frame.name, frame.line or "")
        for frame in reversed(traceback.extract_tb(error.__traceback__ if error else None))
    ]


def is_by_others(error: BaseException) -> bool:
    """Whether an error only says that another rank of the gang is gone, or does not answer.

    PyTorch has types for NCCL's and the store's; gloo's come as RuntimeError. TensorFlow says of an
    operation of its own, of whatever type, that it was a collective one.
    """
    if type(error).__module__.startswith("torch") and type(error).__name__.startswith("Dist"):
        return True
    if type(error).__module__.startswith("tensorflow."):
        return re.search(_COLLECTIVE, _message(error)) is not None
    return isinstance(error, RuntimeError) and re.search(_GLOO, str(error)) is not None


def crash(log: bytes, code: str) -> dict[str, Any] | None:
    """As ``failure``, for a worker that died by a signal: what faulthandler wrote to its log.

    ``log`` is the end of that; ``code`` is what the path of the folder of the user's code ends
    with, wherever the worker had it. None if nothing is there, as when it was killed from outside.
    """
    *_, died, stack = ["", "", *_FATAL.split(log.decode(errors="replace"))[1:]]
    if not died:
        return None
    found = _FRAME.findall(stack.strip().partition("\n\n")[0])
    workdir = next(
        (before + code for before, own, _ in (file.partition(code) for file, *_ in found) if own),
        None,
    )
    frames = [
        # Of a library, this machine may have another version.
        (file, int(line), name, getline(file, int(line)).strip() if code in file else "")
        for file, line, name in found
    ]
    name = f" ({_SIGNALS[died]})" if died in _SIGNALS else ""
    message = f"the worker process crashed: {died.lower()}{name}"
    return {"type": "Lost", "message": message, "hint": CRASH_HINT} | _told(frames, workdir)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as fault:  # the user's code again
        return f"its message can't be told: __str__ raised {type(fault).__name__}"


def _told(frames: list[tuple[str, int, str, str]], workdir: str | None) -> dict[str, Any]:
    """``frames`` and ``user_frames`` out of file, line, function and source, innermost first."""
    user: list[str] = []
    others: list[str] = []
    for file, number, name, source in frames:
        own = workdir is not None and Path(file).is_relative_to(workdir)
        shown = str(Path(file).relative_to(workdir)) if own and workdir else file
        line = f"{shown}:{number} in {name}" + (f": {source}" if source else "")
        (user if own else others).append(line)
    return {"frames": user + others, "user_frames": len(user)}
