"""``target: FILE``: the platform that a file of the user's describes, put in the file's place.

What is planned holds it in full, so that neither a worker nor a resumed run needs the file.
"""

from __future__ import annotations

import re
from pathlib import Path as File
from typing import Any

from runner.edge.platforms import Platforms
from runner.errors import Fault, SpecError
from runner.kinds import KINDS, find
from runner.kinds.target import NAMES
from runner.spec import beside, platforms
from runner.spec.document import Document, Path, shown
from runner.spec.parse import MAX_BYTES
from runner.spec.shape import NAME
from runner.spec.suggest import did_you_mean

KEY = "target"
_EXPECTED = (
    "expected the name of a platform, or the path of a file that describes one, such as "
    "./my-chip.yaml"
)


def resolve(document: Document, folder: File | None, faults: list[Fault]) -> None:
    """Reads the files that tasks name as targets; a fault for each thing that is wrong.

    Relative paths are looked up in ``folder``, where the spec lies. ``document.data`` is copied as
    far as it changes.
    """
    tasks = document.data.get("tasks")
    if not isinstance(tasks, dict):
        return
    changed = dict(tasks)
    for name, task in tasks.items():
        target = task.get(KEY) if _takes_one(task) else None
        if target is None or target in NAMES:
            continue
        path: Path = ("tasks", name, KEY)
        before = len(faults)
        found = _described(document, path, target, folder, faults)
        # Of what is wrong no more is to be found; it is no target as a word, either.
        changed[name] = {**task, KEY: found if len(faults) == before else "wrong"}
    document.data = {**document.data, "tasks": changed}


def _takes_one(task: Any) -> bool:
    kind = task.get("kind") if isinstance(task, dict) else None
    return isinstance(kind, str) and kind in KINDS and KEY in find(kind).params.model_fields


def _described(
    document: Document, path: Path, target: Any, folder: File | None, faults: list[Fault]
) -> dict[str, Any] | None:
    """What a plan has for a target that is none of runner's own; None with a fault."""
    place = document.place(path)
    if not isinstance(target, str):
        faults.append(place.fault(f"target is {_sort(target)}; {_EXPECTED}"))
        return None
    if not target or re.fullmatch(NAME, target):
        close = did_you_mean(target, NAMES) or f"; expected one of {', '.join(NAMES)}, or the path "
        if not close.startswith("; did"):
            close += "of a file that describes one, such as ./my-chip.yaml"
        faults.append(place.fault(f"no platform is called '{shown(target)}'{close}"))
        return None
    if folder is None:
        faults.append(
            place.fault(
                f"{shown(target)} would lie beside the spec, which is in no file; expected the "
                "name of a platform"
            )
        )
        return None
    text, name = _parts(target)
    before = len(faults)
    file = beside.existing(document, path, text, folder, faults)
    found = {} if len(faults) > before else _read(File(file), text)
    if isinstance(found, list):
        faults += [place.fault(f"target: {each}") for each in found]
    wrong = None if isinstance(found, list) else _misnamed(text, name, found)
    if wrong is not None and len(faults) == before:
        faults.append(place.fault(wrong))
    if len(faults) > before or isinstance(found, list):
        return None
    platform = found[name] if name else next(iter(found.values()))
    described = platform.model_dump(mode="json", exclude_unset=True)
    return {"name": target, "described": described}


def _sort(target: Any) -> str:
    if isinstance(target, dict | list):
        return "a map" if isinstance(target, dict) else "a list"
    return shown(target)


def _parts(target: str) -> tuple[str, str | None]:
    """The file, and which of its platforms is meant, if that is said."""
    file, colon, name = target.rpartition(":")
    return (file, name) if colon and file and re.fullmatch(NAME, name) else (target, None)


def _read(file: File, written: str) -> Platforms | list[str]:
    """What the file describes, or all that is wrong with it, each at its own line."""
    try:
        with file.open("rb") as opened:
            source = opened.read(MAX_BYTES + 1)
        return platforms.read(source, file=written)
    except OSError as error:
        return [f"{shown(written)} can't be read: {error.strerror}"]
    except SpecError as error:
        return [str(fault) for fault in error.faults]


def _misnamed(file: str, name: str | None, found: Platforms) -> str | None:
    """Why it is not clear which of those that are described is meant; None where it is."""
    if name is None and len(found) > 1:
        return (
            f"{shown(file)} describes {len(found)} platforms, {', '.join(found)}; expected "
            f"one of them, such as {shown(file)}:{next(iter(found))}"
        )
    if name is not None and name not in found:
        close = did_you_mean(name, found)
        return f"{shown(file)} describes no platform called '{shown(name)}'{close}"
    return None
