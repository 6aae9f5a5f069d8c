"""``--set a.b.c=value``: values put over those of the file, typed as YAML types them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from runner.errors import Fault, SpecError
from runner.spec.document import ORIGIN, Document, Path, Place, shown
from runner.spec.parse import MAX_DEPTH, parse
from runner.spec.shape import EXTENSION, JobSpec
from runner.spec.suggest import did_you_mean

Placed = TypeVar("Placed", Fault, Place)
_FORM = "expected PATH=VALUE, such as tasks.student.temperature=4"


def apply(
    document: Document, overrides: Sequence[str], environment: Mapping[str, str]
) -> list[Fault]:
    """Put every override into ``document``, in order; returns the faults of those that can't be."""
    faults: list[Fault] = []
    for text in overrides:
        faults += _apply_one(document, text, environment)
    return faults


def _apply_one(document: Document, text: str, environment: Mapping[str, str]) -> list[Fault]:
    readable = text.encode("utf-8", "replace").decode()
    whole = Place(file=ORIGIN, line=1, column=1, source=readable)
    dotted, equals, value = text.partition("=")
    names = dotted.strip().split(".")
    if not equals or not all(names) or not readable.startswith(dotted):
        return [whole.fault(f"'{shown(readable)}'; {_FORM}")]
    if len(names) > MAX_DEPTH:
        return [whole.fault(f"a path of {len(names)} names; expected at most {MAX_DEPTH}")]
    if names[0].startswith(EXTENSION):
        return [
            whole.fault(
                f"'{shown(names[0])}' only holds what stands elsewhere too; expected the path of "
                "the value there, such as tasks.student.temperature"
            )
        ]
    tasks = document.data.get("tasks")
    if isinstance(tasks, dict) and names[0] in tasks and names[0] not in JobSpec.model_fields:
        said = shown(dotted.strip())
        return [whole.fault(f"'{said}' begins with a task's name; did you mean 'tasks.{said}'?")]
    start = len(dotted) + 1
    try:
        # An argument of the command that is not UTF-8 comes with surrogates in place of its bytes.
        source = value.encode("utf-8", "surrogateescape")
        parsed, faults = parse(source, file=ORIGIN, environment=environment)
    except SpecError as error:
        return [_moved(fault, readable, start) for fault in error.faults]
    if faults:
        return [_moved(fault, readable, start) for fault in faults]
    found = _holder(document, names, whole)
    if isinstance(found, Fault):
        return [found]
    target, path = found
    target[path[-1]] = parsed.data
    for table in (document.keys, document.values):
        for old in [old for old in table if old[: len(path)] == path]:
            del table[old]
    document.keys[path] = whole
    for inner, place in parsed.values.items():
        document.values[(*path, *inner)] = _moved(place, readable, start)
    for inner, place in parsed.keys.items():
        document.keys[(*path, *inner)] = _moved(place, readable, start)
    return []


def _holder(document: Document, names: Sequence[str], whole: Place) -> tuple[Any, Path] | Fault:
    """The map or list that holds what ``names`` lead to, made on the way, and the whole path."""
    target = document.data
    path: Path = ()
    for depth, name in enumerate(names):
        if isinstance(target, list):
            if not (name.isdecimal() and len(name) < 10 and int(name) < len(target)):
                many = f"expected 0 up to {len(target) - 1}" if target else "it is empty"
                return whole.fault(
                    f"the list '{_dotted(path)}' has no item '{shown(name)}'; {many}"
                )
            step: str | int = int(name)
        elif isinstance(target, dict):
            step = name
        else:
            return whole.fault(f"'{_dotted(path)}' is a single value; expected a map")
        path = (*path, step)
        if depth == len(names) - 1:
            break
        if isinstance(target, dict) and target.get(name) is None:
            if path[:-1] == ("tasks",) and name not in target:
                return whole.fault(f"no task is called '{shown(name)}'{did_you_mean(name, target)}")
            target[name] = {}
            document.keys.setdefault(path, whole)  # an empty one keeps the place where it stands
            document.values[path] = whole
        target = target[step]
    return target, path


def _dotted(path: Path) -> str:
    return shown(".".join(str(part) for part in path))


def _moved(placed: Placed, text: str, start: int) -> Placed:
    """``placed``, found in the value alone, as it stands in the whole argument."""
    shift = start if placed.line == 1 else 0
    source = text.split("\n")[0] if placed.line == 1 else placed.source
    return replace(placed, column=placed.column + shift, source=source)
