"""Every error that runner raises on purpose, and the exit code each one ends the command with.

    RunnerError                 a message (what is wrong) and a hint (what to do)
    ├── UsageError          2   the command line was used wrongly
    ├── SpecError           2   the spec has faults, each with its place in the file
    ├── PlanError           3   a task can never fit what there is
    ├── ClusterError        4   no cluster could be reached or started
    ├── RunNotFoundError    5   no run goes by that name
    ├── RecordsError        5   a run's records can't be read or written
    │   └── StorageError        a storage at a URI does not do what it is asked for
    ├── TaskError           1   a task can't go on: its data, model or artifact is not as asked
    │   ├── OutOfMemory         a device had no room for so many samples at once
    │   └── GateMissed          what was made is not as good, small or fast as was asked for
    └── Unmeasured              a figure can't be had here; its task goes on, and says why

Errors are data. The library raises them, the command line prints them; an exception that is not
in this tree is a bug in runner (exit 70) or, inside a task, the user's own code at fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    """What the exit codes of the command mean."""

    FINISHED = 0
    FAILED = 1
    USAGE = 2
    NEVER_FITS = 3
    NO_CLUSTER = 4
    NO_RUN = 5
    BUG = 70
    INTERRUPTED = 130


class RunnerError(Exception):
    """Base of every error raised on purpose: ``message`` is what is wrong, ``hint`` what to do."""

    exit_code = Exit.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(RunnerError):
    """The command or function was called with arguments that don't go together."""

    exit_code = Exit.USAGE


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Fault:
    """One thing wrong with a spec. Lines and columns count from 1; ``source`` is the line."""

    file: str
    line: int
    column: int
    message: str
    source: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class SpecError(RunnerError):
    """A spec with faults: all of them, in the order in which they stand in the file."""

    exit_code = Exit.USAGE

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = tuple(sorted(set(faults)))
        super().__init__("\n".join(str(fault) for fault in self.faults))


@dataclass(frozen=True, kw_only=True, slots=True)
class Misfit:
    """Why one task can't be placed: what it asks for and what each node (or node type) lacks."""

    task: str
    asks: str
    lacks: tuple[str, ...]
    nearest: str


class PlanError(RunnerError):
    """Tasks that can never fit the nodes there are, nor those that could be started."""

    exit_code = Exit.NEVER_FITS

    def __init__(self, misfits: list[Misfit], *, hint: str = "") -> None:
        self.misfits = tuple(misfits)
        lines = []
        for misfit in misfits:
            lines.append(
                f"task '{misfit.task}' asks for {misfit.asks}, which nothing here can hold:"
            )
            lines += [f"  {lack}" for lack in misfit.lacks]
            if misfit.nearest:
                lines.append(f"  nearest: {misfit.nearest}")
        super().__init__("\n".join(lines), hint=hint)


class ClusterError(RunnerError):
    """A Ray cluster that can't be reached, refuses, or does not start."""

    exit_code = Exit.NO_CLUSTER


class RunNotFoundError(RunnerError):
    """No run has that name, or more than one begins with it."""

    exit_code = Exit.NO_RUN


class RecordsError(RunnerError):
    """A run folder whose plan or records can't be read or written."""

    exit_code = Exit.NO_RUN


class StorageError(RecordsError):
    """Storage at a URI that can't be reached, read or written, or is not as it was left."""


class TaskError(RunnerError):
    """A task that can't go on for a reason its user can mend: data, model or artifact."""


class OutOfMemory(TaskError):
    """A device that ran out of memory in a forward and backward pass of ``rows`` samples."""

    def __init__(self, message: str, *, rows: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.rows = rows


class GateMissed(TaskError):
    """A task whose figures are not what its gates ask for."""


class Unmeasured(RunnerError):
    """A figure that can't be had on this device or of this model, which a task can do without."""


def fewer_rows(error: Mapping[str, Any] | None) -> int | None:
    """How many samples at once may be tried after an attempt that ended with ``error``.

    ``error`` is as its record has it. Half as many; None if it is no OutOfMemory, or if one sample
    was too many.
    """
    rows = (error or {}).get("rows")
    return rows // 2 if isinstance(rows, int) and rows > 1 else None
