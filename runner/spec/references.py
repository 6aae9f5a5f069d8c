"""References between tasks: where they may stand, what they name, and in what order tasks start."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from runner.errors import Fault
from runner.kinds import KINDS, find
from runner.spec.document import Document, Path, shown
from runner.spec.shape import TaskSpec
from runner.spec.suggest import did_you_mean

REFERENCE = re.compile(r"\$\{tasks\.([^}]*)\}")
_OUTPUT = re.compile(r"([^.]+)\.outputs\.([^.]+)")


def check(document: Document, faults: list[Fault]) -> dict[str, dict[str, Path]]:
    """For each task the tasks it depends on, with the place that says so."""
    tasks = document.data.get("tasks")
    tasks = tasks if isinstance(tasks, dict) else {}
    edges: dict[str, dict[str, Path]] = {name: {} for name in tasks}
    for path, text in _strings(document.data, ()):
        for match in REFERENCE.finditer(text):
            wrong = _misplaced(path, tasks) or _misspelt(match, text, tasks)
            if wrong is not None:
                faults.append(document.place(path).fault(wrong))
            else:
                edges[str(path[1])].setdefault(match.group(1).partition(".")[0], path)
    for name, task in tasks.items():
        listed = task.get("depends_on") if isinstance(task, dict) else None
        others: list[Any] = listed if isinstance(listed, list) else []
        for index, other in enumerate(others):
            path = ("tasks", name, "depends_on", index)
            if not isinstance(other, str) or REFERENCE.search(other):
                continue  # a fault already
            if other in others[:index]:
                faults.append(
                    document.place(path).fault(
                        f"depends_on names '{shown(other)}' twice; expected it once"
                    )
                )
            elif other not in tasks:
                hint = did_you_mean(other, tasks)
                faults.append(
                    document.place(path).fault(f"no task is called '{shown(other)}'{hint}")
                )
            else:
                edges[name].setdefault(other, path)
    return edges


def _misplaced(path: Path, tasks: Mapping[str, Any]) -> str | None:
    """What is wrong with where a reference stands: only artifacts and arguments take one."""
    wrong = "a reference to a task's output can't stand here; "
    if path[0] != "tasks" or len(path) < 3 or path[2] in TaskSpec.model_fields:
        return wrong + "expected it in a parameter of a task"
    kind = _kind_of(tasks[str(path[1])])
    if kind is None:
        return None  # a fault already
    fields = find(kind).params.model_fields
    if path[2] not in fields or path[3:4] == ("args",):
        return None
    takers = [
        name
        for name, field in fields.items()
        if isinstance(field.json_schema_extra, dict) and "artifact" in field.json_schema_extra
    ]
    # Alone, or in a list of several.
    if path[2] in takers and all(isinstance(part, int) for part in path[3:]):
        return None
    places = " and ".join([*(f"'{name}'" for name in takers), "args"])
    return f"{wrong}the kind {kind} takes one in {places} only"


def _misspelt(match: re.Match[str], text: str, tasks: Mapping[str, Any]) -> str | None:
    """What is wrong with a reference itself: its form, or what it names."""
    target = _OUTPUT.fullmatch(match.group(1))
    if target is None:
        return f"the reference '{shown(match.group())}'; expected ${{tasks.NAME.outputs.NAME}}"
    if text != match.group():
        return "a reference among other text; expected it to be the whole value"
    name, output = target.groups()
    if name not in tasks:
        return f"no task is called '{shown(name)}'{did_you_mean(name, tasks)}"
    kind = _kind_of(tasks[name])
    made = () if kind is None else find(kind).outputs_of(tasks[name])
    if kind is not None and output not in made:
        hint = did_you_mean(output, made) or "; it has none"
        return f"the task '{shown(name)}' (kind {kind}) has no output '{shown(output)}'{hint}"
    return None


def _kind_of(task: Any) -> str | None:
    kind = task.get("kind") if isinstance(task, dict) else None
    return kind if isinstance(kind, str) and kind in KINDS else None


def check_cycles(
    document: Document, edges: Mapping[str, Mapping[str, Path]], faults: list[Fault]
) -> None:
    """A fault for each cycle, at the reference that closes it."""
    done: set[str] = set()
    for start in edges:
        trail: dict[str, Iterator[str]] = {}  # the tasks on the way here, and what each still needs
        if start not in done:
            trail[start] = iter(edges[start])
        while trail:
            name = next(reversed(trail))
            other = next(trail[name], None)
            if other is None:
                del trail[name]
                done.add(name)
            elif other in trail:
                names = list(trail)
                cycle = [*names[names.index(other) :], other]
                faults.append(document.place(edges[name][other]).fault(_cycle_words(cycle)))
            elif other not in done:
                trail[other] = iter(edges[other])


def _cycle_words(cycle: list[str]) -> str:
    if len(cycle) == 2:
        return f"the task '{shown(cycle[0])}' waits for itself; expected another task"
    if len(cycle) > 10:
        cycle = [*cycle[:4], "...", *cycle[-4:]]
    words = " needs ".join(shown(name) for name in cycle)
    return f"tasks that wait for each other: {words}; expected an order in which they can start"


def _strings(data: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _strings(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _strings(value, (*path, index))
