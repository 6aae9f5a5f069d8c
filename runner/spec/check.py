"""Document → Job: every task checked against its kind, every reference against the other tasks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as File
from typing import Any

from pydantic import ValidationError

from runner.errors import Fault, SpecError
from runner.kinds import KINDS, find
from runner.model import Job, Retry, Task
from runner.spec import beside
from runner.spec import overrides as overriding
from runner.spec.document import Document, Path, shown
from runner.spec.faults import translate
from runner.spec.parse import parse
from runner.spec.resources import parse_duration
from runner.spec.shape import DEFAULTS, NAME, JobSpec, TaskSpec, task_model
from runner.spec.suggest import did_you_mean

REFERENCE = re.compile(r"\$\{tasks\.([^}]*)\}")
_OUTPUT = re.compile(r"([^.]+)\.outputs\.([^.]+)")


def load(
    source: bytes,
    *,
    file: str,
    overrides: Sequence[str] = (),
    environment: Mapping[str, str],
    folder: File | None = None,
) -> Job:
    """The job that a spec describes.

    Args:
        source: The file's bytes.
        file: Its name, for messages and for the job.
        overrides: ``PATH=VALUE`` texts, put over the file's values in order.
        environment: What ``${env:NAME}`` reads.
        folder: Where the file lies. If given, the data, artifacts and functions that the spec names
            beside it are looked up there, and their paths made absolute.

    Raises:
        SpecError: With every fault that was found, each at its line and column.
    """
    document, faults = parse(source, file=file, environment=environment)
    if not isinstance(document.data, dict):
        what = "a list" if isinstance(document.data, list) else "a single value"
        what = "the file is empty" if document.data is None else f"the file holds {what}"
        message = f"{what}; expected a map with 'name' and 'tasks'"
        raise SpecError([*faults, document.place(()).fault(message)])
    faults += overriding.apply(document, overrides, environment)
    edges = _check_references(document, faults)
    spoken_for = {_position(fault) for fault in faults}
    more: list[Fault] = []
    head, wrong = _check_head(document, more)
    specs = _check_tasks(document, wrong, more)
    _check_cycles(document, edges, more)
    params = {name: _params(spec) for name, spec in specs.items()}
    workdir = _workdir(document, params, folder, more)
    if folder is not None:
        for name, spec in specs.items():
            beside.resolve(document, name, spec, params[name], folder, workdir or folder, more)
    # What could not be read, or refers to nothing, is wrong in its type as well: said once.
    faults += [fault for fault in more if _position(fault) not in spoken_for]
    if faults or head is None:
        raise SpecError(faults)
    return Job(
        name=head.name,
        tasks=tuple(_task(name, spec, params[name], edges[name]) for name, spec in specs.items()),
        spec=document.data,
        file=file,
        overrides=tuple(overrides),
        workdir=str(workdir) if workdir else None,
    )


def _position(fault: Fault) -> tuple[str, int, int, str]:
    return fault.file, fault.line, fault.column, fault.source


def _params(spec: TaskSpec) -> dict[str, Any]:
    fields = set(find(spec.kind).params.model_fields)
    return spec.model_dump(mode="json", include=fields)


def _workdir(
    document: Document, params: Mapping[str, dict[str, Any]], folder: File | None,
    faults: list[Fault],
) -> File | None:  # fmt: skip
    """The folder of the user's code: as named, or the spec's own where a task names a factory."""
    named = document.data.get("workdir")
    if folder is None or (named is not None and not isinstance(named, str)):
        return None
    if named is not None:
        found = beside.existing_folder(folder, named)
        if isinstance(found, str):
            faults.append(document.place(("workdir",)).fault(f"workdir: {found}"))
            return None
        return found
    parts = (task.get(part) for task in params.values() for part in ("model", "data"))
    return folder if any(isinstance(part, dict) and part.get("factory") for part in parts) else None


def _json(data: Any) -> str:
    return json.dumps(data, default=str)


def _check_head(document: Document, faults: list[Fault]) -> tuple[JobSpec | None, set[str]]:
    """The job around its tasks, and which of its keys are wrong."""
    try:
        return JobSpec.model_validate_json(_json(document.data)), set()
    except ValidationError as error:
        faults += translate(error, document, (), JobSpec)
        return None, {str(item["loc"][0]) for item in error.errors() if item["loc"]}


def _check_tasks(document: Document, wrong: set[str], faults: list[Fault]) -> dict[str, TaskSpec]:
    """The tasks that hold. Defaults that are ``wrong`` are left out: they are faults already."""
    tasks = document.data.get("tasks")
    specs: dict[str, TaskSpec] = {}
    if not isinstance(tasks, dict):
        return specs
    defaults = {
        key: document.data[key] for key in DEFAULTS if key in document.data and key not in wrong
    }
    for name, data in tasks.items():
        path: Path = ("tasks", name)
        if not re.fullmatch(NAME, str(name)):
            faults.append(document.place(path, key=True).fault(
                f"the task name '{shown(name)}'; expected letters, digits, - and _, at most 63, "
                "beginning with a letter or digit"))  # fmt: skip
        if not isinstance(data, dict):
            faults.append(
                document.place(path).fault(
                    f"the task '{shown(name)}' is not a map; expected its 'kind' and parameters"
                )
            )
            continue
        kind = data.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            faults.append(_kind_fault(document, path, kind, name))
            continue
        model = task_model(kind)
        try:
            specs[name] = model.model_validate_json(_json(_merged(defaults, data)))
            _check_devices(document, name, specs[name], faults)
        except ValidationError as error:
            faults += translate(error, document, path, model)
    return specs


def _check_devices(document: Document, name: str, spec: TaskSpec, faults: list[Fault]) -> None:
    """A fault where the task asks for a family of devices that its kind can't use."""
    usable = find(spec.kind).devices
    for index, choice in enumerate(spec.resources.resolve().accelerators):
        if choice is not None and choice.family not in usable:
            own: Path = ("tasks", name, "resources", "accelerators")
            path = own if own in document.values else ("resources", "accelerators")
            if (*path, index) in document.values:
                path = (*path, index)
            faults.append(document.place(path).fault(
                f"accelerators: the kind {spec.kind} does not run on {choice}; "
                f"expected {' or '.join(usable)}"))  # fmt: skip


def _merged(defaults: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The task over the job's defaults; of maps (resources, env, retry) the entries are merged."""
    merged = {**defaults, **data}
    for key, default in defaults.items():
        own = data.get(key)
        if isinstance(default, dict) and isinstance(own, dict):
            merged[key] = {**default, **own}
    return merged


def _kind_fault(document: Document, path: Path, kind: Any, name: str) -> Fault:
    if kind is None:
        return document.place(path, key=True).fault(
            f"the task '{shown(name)}' has no 'kind'; expected one of {', '.join(KINDS)}"
        )
    where = document.place((*path, "kind"))
    if not isinstance(kind, str):
        return where.fault(f"kind is not a word; expected one of {', '.join(KINDS)}")
    hint = did_you_mean(kind, KINDS)
    return where.fault(f"no kind is called '{shown(kind)}'{hint}")


def _strings(data: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _strings(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _strings(value, (*path, index))


def _check_references(document: Document, faults: list[Fault]) -> dict[str, dict[str, Path]]:
    """For each task the tasks it depends on, with the place that says so."""
    tasks = document.data.get("tasks")
    tasks = tasks if isinstance(tasks, dict) else {}
    edges: dict[str, dict[str, Path]] = {name: {} for name in tasks}
    for path, text in _strings(document.data, ()):
        for match in REFERENCE.finditer(text):
            inside = match.group(1)
            place = document.place(path)
            target = _OUTPUT.fullmatch(inside)
            if path[0] != "tasks" or len(path) < 3 or path[2] in TaskSpec.model_fields:
                faults.append(place.fault("a reference to a task's output can't stand here; "
                                          "expected it in a parameter of a task"))  # fmt: skip
            elif target is None:
                faults.append(place.fault(f"the reference '{shown(match.group(0))}'; expected "
                                          "${tasks.NAME.outputs.NAME}"))  # fmt: skip
            elif text != match.group(0):
                faults.append(place.fault("a reference among other text; expected it to be the "
                                          "whole value"))  # fmt: skip
            else:
                name, output = target.group(1), target.group(2)
                if name not in tasks:
                    hint = did_you_mean(name, tasks)
                    faults.append(place.fault(f"no task is called '{shown(name)}'{hint}"))
                    continue
                edges[str(path[1])].setdefault(name, path)
                kind = _kind_of(tasks[name])
                if kind is not None and output not in find(kind).outputs:
                    what = f"the task '{shown(name)}' (kind {kind}) has no output '{shown(output)}'"
                    hint = did_you_mean(output, find(kind).outputs) or "; it has none"
                    faults.append(place.fault(what + hint))
    for name, task in tasks.items():
        others = task.get("depends_on") if isinstance(task, dict) else None
        for index, other in enumerate(others if isinstance(others, list) else []):
            path = ("tasks", name, "depends_on", index)
            if not isinstance(other, str) or REFERENCE.search(other):
                continue  # a fault already
            if other not in tasks:
                faults.append(document.place(path).fault(
                    f"no task is called '{shown(other)}'{did_you_mean(other, tasks)}"))  # fmt: skip
            else:
                edges[name].setdefault(other, path)
    return edges


def _kind_of(task: Any) -> str | None:
    kind = task.get("kind") if isinstance(task, dict) else None
    return kind if isinstance(kind, str) and kind in KINDS else None


def _check_cycles(
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


def _task(
    name: str, spec: TaskSpec, params: Mapping[str, Any], depends_on: Mapping[str, Path]
) -> Task:
    timeout = spec.timeout
    return Task(
        name=name,
        kind=spec.kind,
        params=params,
        resources=spec.resources.resolve(),
        depends_on=tuple(depends_on),
        retry=Retry(max_restarts=spec.retry.max_restarts),
        timeout_s=parse_duration(timeout) if isinstance(timeout, str) else timeout,
        env=spec.env,
        secrets=tuple(spec.secrets),
        seed=spec.seed,
    )
