"""Find runs in storage, and tell whether their drivers live."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path

from runner.cluster.address import process_started
from runner.errors import RunNotFoundError
from runner.model import Record
from runner.runs.folder import PLAN, RunFolder

# A driver on another machine is taken for dead once nothing was written for this long; it writes
# a heartbeat every ten seconds.
SILENCE_S = 60.0

# From this likeness on a name is offered as the one that was meant.
NEAR = 0.7


def all_runs(storage: Path) -> list[RunFolder]:
    """Every run in ``storage``, the newest first."""
    if not storage.is_dir():
        return []
    folders = [RunFolder(path.parent) for path in storage.glob(f"*/{PLAN}")]
    return sorted(folders, key=lambda folder: (_made_at_s(folder), folder.run), reverse=True)


def _made_at_s(folder: RunFolder) -> float:
    return (folder.path / PLAN).stat().st_mtime


def find(name: str, storage: Path) -> RunFolder:
    """The run called ``name``: its id, a prefix that only it has, ``latest``, or its folder's path.

    Raises RunNotFoundError, naming those that come near.
    """
    if "/" in name and (Path(name) / PLAN).is_file():
        return RunFolder(Path(name))
    runs = all_runs(storage)
    if not runs:
        raise RunNotFoundError(
            f"no runs lie in {storage}", hint="name another place with --storage or RUNNER_STORAGE"
        )
    if name == "latest":
        return runs[0]
    matches = [folder for folder in runs if folder.run == name]
    matches = matches or [folder for folder in runs if folder.run.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        shown = ", ".join(folder.run for folder in matches[:5])
        more = ", ..." if len(matches) > 5 else ""
        raise RunNotFoundError(
            f"{len(matches)} runs begin with '{name}': {shown}{more}",
            hint="name more of it, or 'latest'",
        )
    near = max(runs, key=lambda folder: _likeness(name, folder.run))
    raise RunNotFoundError(
        f"no run in {storage} begins with '{name}'",
        hint=f"did you mean '{near.run}'?"
        if _likeness(name, near.run) > NEAR
        else "'runner list' shows them",
    )


def _likeness(name: str, run: str) -> float:
    """How like ``name`` is to as much of the run's name, from 0 to 1."""
    return SequenceMatcher(None, name, run[: len(name)]).ratio()


def driver_alive(folder: RunFolder, records: Sequence[Record]) -> bool:
    """Whether the process that drives the run still does, as far as this machine can tell.

    One that can't be looked at is taken for dead after a minute without a record, and one that
    never wrote any a minute after it laid out the folder.
    """
    started = next((r for r in reversed(records) if r.event == "run_started"), None)
    driver = started.data.get("driver") if started else None
    match driver:
        case {"host": str(host), "pid": int(pid), "started": float() | int() as began}:
            if host == socket.gethostname():
                return process_started(pid) == began
    latest_s = records[-1].at_s if records else _made_at_s(folder)
    return time.time() - latest_s < SILENCE_S
