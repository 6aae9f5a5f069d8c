"""What a spec names beside itself: data files, model artifacts, the user's functions.

Looked up before anything runs.
"""

from __future__ import annotations

from pathlib import Path as File
from typing import Any, cast

from runner.errors import Fault
from runner.kinds import find
from runner.spec import factory
from runner.spec.document import Document, Path, shown
from runner.spec.shape import TaskSpec
from runner.spec.suggest import did_you_mean

_SOURCES: tuple[tuple[str, ...], ...] = (
    ("data",),
    ("data", "unlabelled"),
    ("calibration", "data"),
)
MADE = (("model",), *_SOURCES)
"""Where a parameter may name a function of the user's."""


def resolve(
    document: Document, name: str, spec: TaskSpec, params: dict[str, Any], folder: File,
    workdir: File, faults: list[Fault],
) -> None:  # fmt: skip
    """Make the relative paths in ``params`` absolute; a fault for what isn't where it should be."""
    path: Path = ("tasks", name)
    for part in _SOURCES:
        source = _map_at(params, part)
        if source.get("path") and not source["path"].startswith("${"):
            where = (*path, *part, "path")
            source["path"] = existing(document, where, source["path"], folder, faults)
    for field, info in find(spec.kind).params.model_fields.items():
        extra = info.json_schema_extra
        value = params.get(field)
        if not isinstance(extra, dict) or "artifact" not in extra:
            continue

        def beside(text: str, *where: str | int) -> str:
            if text.startswith("${") or "://" in text:
                return text
            return existing(document, (*path, *where), text, folder, faults)

        if isinstance(value, str):
            params[field] = beside(value, field)
        elif isinstance(value, list):
            params[field] = [beside(each, field, index) for index, each in enumerate(value)]
    for part in MADE:
        made_by = factory_of(params, part)
        if made_by:
            wrong = factory.wrong_with(made_by, workdir)
            if wrong is not None:
                faults.append(document.place((*path, *part, "factory")).fault(wrong))


def factory_of(params: dict[str, Any], path: tuple[str, ...]) -> str | None:
    """The user's function that makes what stands at ``path``, one of ``MADE``; None without one."""
    found: str | None = _map_at(params, path).get("factory")
    return found


def _map_at(params: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """The map that stands at ``path``; an empty one where none does."""
    found: Any = params
    for part in path:
        found = found.get(part)
        if not isinstance(found, dict):
            return {}
    return cast(dict[str, Any], found)


def existing_folder(folder: File, text: str) -> File | str:
    """The folder ``text`` below ``folder``, or what is wrong with it."""
    try:
        target = (folder / text).resolve()
        return target if target.is_dir() else f"no folder lies at {target}{_home(text)}"
    except (OSError, ValueError) as error:  # too long, a NUL in it, or not allowed to look
        return f"{shown(text)} can't be looked up: {_reason(error)}"


def existing(document: Document, path: Path, text: str, folder: File, faults: list[Fault]) -> str:
    """``text`` as an absolute path; relative ones must be there, as they can't be elsewhere.

    A fault at ``path`` for one that is not.
    """
    target = folder / text
    if File(text).is_absolute():
        return text
    try:
        target.lstat()
        return str(target)
    except FileNotFoundError:
        message = f"nothing lies at {target}{_home(text) or _near(target)}"
    except (OSError, ValueError) as error:  # too long, a NUL in it, or not allowed to look
        message = f"{shown(text)} can't be looked up: {_reason(error)}"
    faults.append(document.place(path).fault(message))
    return text


def _home(text: str) -> str:
    """What to write for one's home, which a path in a file does not know by ``~``."""
    if text != "~" and not text.startswith("~/"):
        return ""
    return f"; '~' means nothing here, expected ${{env:HOME}}{text[1:]}"


def _near(target: File) -> str:
    """``; did you mean`` a file that lies where ``target`` should, if one is called almost so."""
    try:
        beside = [file.name for file in target.parent.iterdir()]
    except OSError:
        return ""  # nothing can be suggested; that the target is missing is said anyway
    hint = did_you_mean(target.name, beside)
    return hint if hint.startswith("; did") else ""


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
