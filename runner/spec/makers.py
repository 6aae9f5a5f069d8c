"""Whether a task can take the artifacts that others make: by the framework of who makes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.errors import Fault
from runner.kinds import find
from runner.spec.document import Document
from runner.spec.faults import place_named
from runner.spec.references import REFERENCE
from runner.spec.shape import TaskSpec


def check(document: Document, specs: Mapping[str, TaskSpec], faults: list[Fault]) -> None:
    """A fault for each task that refers to an artifact which it can't take."""
    for name, spec in specs.items():
        checks = find(spec.kind).check_makers
        if checks is None:
            continue
        makers = {
            field: find(specs[maker].kind).framework_of(dict(specs[maker]))
            for field, value in spec
            if (maker := _referred_to(value)) in specs
        }
        try:
            checks(spec, makers)
        except ValueError as error:
            keys = [path for path in document.keys if path[:2] == ("tasks", name) and path[2:]]
            place = place_named(document, keys, str(error))
            place = place or document.place(("tasks", name), key=True)
            faults.append(place.fault(f"{name}: {error}"))


def _referred_to(value: Any) -> str:
    """The task whose artifact a parameter is, or one of several; empty if it is none."""
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and (match := REFERENCE.fullmatch(text)):
            return match.group(1).partition(".")[0]
    return ""
