"""Whether a task can take the artifacts that others make: by what makes them, and of what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runner.errors import Fault
from runner.kinds import Maker, find
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
        makers = {field: tuple(_makers(value, specs)) for field, value in spec}
        try:
            checks(spec, makers)
        except ValueError as error:
            keys = [path for path in document.keys if path[:2] == ("tasks", name) and path[2:]]
            place = place_named(document, keys, str(error))
            place = place or document.place(("tasks", name), key=True)
            faults.append(place.fault(f"{name}: {error}"))


def _makers(value: Any, specs: Mapping[str, TaskSpec]) -> Iterator[Maker]:
    """Who makes the artifact that a parameter refers to, or each of several."""
    for text in value if isinstance(value, list) else [value]:
        match = REFERENCE.fullmatch(text) if isinstance(text, str) else None
        task, _, output = match.group(1).partition(".outputs.") if match else ("", "", "")
        if task in specs:
            kind = find(specs[task].kind)
            yield Maker(
                kind=kind.name,
                framework=kind.framework_of(dict(specs[task])),
                is_model=kind.makes_models and output == "model",
            )
