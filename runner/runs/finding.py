"""Find runs in storage, and tell whether their drivers live."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from functools import partial

from runner.cluster.address import process_started
from runner.errors import RunNotFoundError, UsageError
from runner.model import Record
from runner.runs.folder import PLAN, RunFolder
from runner.storage import Place, Remote, at

# A driver on another machine is taken for dead once nothing was written for this long; it writes
# a heartbeat every ten seconds.
SILENCE_S = 60.0

# What run_name ends a name with.
_WHEN = re.compile(r"-(\d{8}-\d{6})-[0-9a-f]{4}$")

# From this likeness on a name is offered as the one that was meant.
NEAR = 0.7


def storage_at(named: str | Place | None, environment: Mapping[str, str]) -> Place:
    """Where runs lie: as ``named``, else as RUNNER_STORAGE says, else ``runs``.

    Raises UsageError for a URI that nothing here can reach or that nobody else could, and for a
    home that nobody has.
    """
    place = at(str(named or environment.get("RUNNER_STORAGE") or "runs"))
    if isinstance(place, Remote):
        if place.uri.startswith("memory://"):
            raise UsageError(
                f"storage {place} lies in the memory of one process, and would be gone with it",
                hint="name a folder, or a URI such as s3://bucket/runs",
            )
        return place.absolute()
    try:
        return place.expanduser()
    except RuntimeError:  # Python tells no more than that
        raise UsageError(
            f"storage {place} lies in the home of a user who has none here",
            hint="name the folder by its whole path",
        ) from None


def all_runs(storage: Place) -> list[RunFolder]:
    """Every run in ``storage``, the newest first.

    At a URI, where it would take a request for each, they are told by what their names end with:
    when they were submitted.
    """
    if isinstance(storage, Remote):
        names = [(when[1], name) for name in storage.names() if (when := _WHEN.search(name))]
        return [RunFolder(storage / name) for _, name in sorted(names, reverse=True)]
    if not storage.is_dir():
        return []
    folders = [RunFolder(path.parent) for path in storage.glob(f"*/{PLAN}")]
    return sorted(folders, key=lambda folder: (folder.made_at_s(), folder.run), reverse=True)


def nothing_in(storage: Place) -> str:
    """What to say where ``all_runs`` finds none: whether there is such a folder at all."""
    if not isinstance(storage, Remote) and not storage.is_dir():
        return f"no runs in {storage}: there is no such folder"
    return f"no runs in {storage}"


def find(name: str, storage: Place, *, running: bool = False) -> RunFolder:
    """The run called ``name``: its id, a prefix that only it has, ``latest``, or its folder.

    Where several begin so and whoever asks wants one that is ``running``, the others don't count.

    Raises RunNotFoundError, naming those that come near.
    """
    if "/" in name and (named := RunFolder(at(name))).is_there():
        return named
    runs = all_runs(storage)
    if not runs:
        raise RunNotFoundError(
            nothing_in(storage), hint="name another place with --storage or RUNNER_STORAGE"
        )
    if name == "latest":
        return runs[0]
    matches = [folder for folder in runs if folder.run == name]
    matches = matches or [folder for folder in runs if folder.run.startswith(name)]
    what = "runs"
    if running and len(matches) > 1:
        going = [folder for folder in matches if is_running(folder, folder.records())]
        matches, what = (going, "running runs") if going else (matches, what)
    if len(matches) == 1:
        return matches[0]
    if matches:
        shown = ", ".join(folder.run for folder in matches[:5])
        more = ", ..." if len(matches) > 5 else ""
        raise RunNotFoundError(
            f"{len(matches)} {what} begin with '{name}': {shown}{more}",
            hint="name more of it, or 'latest'",
        )
    near = max(["latest", *(folder.run for folder in runs)], key=partial(_likeness, name))
    raise RunNotFoundError(
        f"no run in {storage} begins with '{name}'",
        hint=f"did you mean '{near}'?"
        if _likeness(name, near) > NEAR
        else "'runner list' shows them",
    )


def _likeness(name: str, run: str) -> float:
    """How like ``name`` is to as much of the run's name, from 0 to 1."""
    return SequenceMatcher(None, name, run[: len(name)]).ratio()


def is_running(folder: RunFolder, records: Sequence[Record]) -> bool:
    """Whether the run has not ended, and somebody drives it."""
    return ended_as(records) is None and driver_alive(folder, records)


def ended_as(records: Sequence[Record]) -> str | None:
    """The status with which the run ended; None if it has not, or goes on since."""
    for record in reversed(records):
        if record.event == "run_started":
            return None
        if record.event == "run_ended":
            return str(record.data["status"])
    return None


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
    latest_s = records[-1].at_s if records else folder.made_at_s()
    return time.time() - latest_s < SILENCE_S
