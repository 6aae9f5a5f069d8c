"""``--set a.b.c=value``: values put over those of the file, typed as YAML types them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runner.errors import Fault, SpecError
from runner.spec.document import Document, Path, Place, parse
from runner.spec.suggest import did_you_mean

ORIGIN = "--set"


def apply(
    document: Document, overrides: Sequence[str], environment: Mapping[str, str]
) -> list[Fault]:
    """Put every override into ``document``, in order; returns the faults of those that can't be."""
    faults: list[Fault] = []
    for text in overrides:
        faults += _apply_one(document, text, environment)
    return faults


def _apply_one(document: Document, text: str, environment: Mapping[str, str]) -> list[Fault]:
    whole = Place(file=ORIGIN, line=1, column=1, source=text)
    dotted, equals, value = text.partition("=")
    names = dotted.strip().split(".")
    if not equals or not all(names):
        return [whole.fault("expected PATH=VALUE, such as tasks.student.temperature=4")]
    start = len(dotted) + 1
    try:
        parsed, faults = parse(value.encode() or b"null", file=ORIGIN, environment=environment)
    except SpecError as error:
        return [_moved(fault, text, start) for fault in error.faults]
    if faults:
        return [_moved(fault, text, start) for fault in faults]
    target = document.data
    path: Path = ()
    for name in names[:-1]:
        if isinstance(target, list):
            fault = _index_fault(target, name, whole)
            if fault:
                return [fault]
            path, target = (*path, int(name)), target[int(name)]
            continue
        if not isinstance(target, dict):
            return [whole.fault(f"'{_dotted(path)}' is a single value; expected a map")]
        if path == ("tasks",) and name not in target:
            return [whole.fault(f"no task is called '{name}'" + did_you_mean(name, target))]
        path = (*path, name)
        if target.get(name) is None:
            target[name] = {}
            document.keys[path] = document.values[path] = whole
        target = target[name]
    last: str | int = names[-1]
    if isinstance(target, list):
        fault = _index_fault(target, names[-1], whole)
        if fault:
            return [fault]
        last = int(names[-1])
    elif not isinstance(target, dict):
        return [whole.fault(f"'{_dotted(path)}' is a single value; expected a map")]
    target[last] = parsed.data
    path = (*path, last)
    for table in (document.keys, document.values):
        for old in [old for old in table if old[: len(path)] == path]:
            del table[old]
    document.keys[path] = whole
    for inner, place in parsed.values.items():
        document.values[(*path, *inner)] = _shifted(place, text, start)
    for inner, place in parsed.keys.items():
        document.keys[(*path, *inner)] = _shifted(place, text, start)
    return []


def _index_fault(target: list[Any], name: str, whole: Place) -> Fault | None:
    if name.isdecimal() and int(name) < len(target):
        return None
    return whole.fault(f"'{name}' names no item; expected 0 to {len(target) - 1}")


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)


def _shifted(place: Place, text: str, start: int) -> Place:
    return Place(file=ORIGIN, line=1, column=place.column + start, source=text)


def _moved(fault: Fault, text: str, start: int) -> Fault:
    return Fault(
        file=ORIGIN, line=1, column=fault.column + start, message=fault.message, source=text
    )
