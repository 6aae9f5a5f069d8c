"""Document → Job: every task checked against its kind, every reference against the other tasks."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path as File
from typing import Any

from pydantic import ValidationError

from runner.errors import Fault, SpecError
from runner.kinds import KINDS, find
from runner.model import Job, Retry, Task
from runner.spec import beside, gangs, makers, references, targets
from runner.spec import overrides as overriding
from runner.spec.document import Document, Path, shown
from runner.spec.faults import translate
from runner.spec.parse import parse
from runner.spec.resources import parse_duration
from runner.spec.shape import (
    DEFAULTS,
    EXTENSION,
    NAME,
    NAME_WORDS,
    JobSpec,
    TaskSpec,
    task_model,
)
from runner.spec.suggest import did_you_mean


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
            beside it are looked up there, and their paths made absolute; files of platforms are
            read.

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
    for extension in [key for key in document.data if key.startswith(EXTENSION)]:
        del document.data[extension]  # its anchors are expanded where they are used
    written = document.data
    targets.resolve(document, folder, faults)
    edges = references.check(document, faults)
    spoken_for = {_position(fault) for fault in faults}
    more: list[Fault] = []
    head, wrong = _check_head(document, more)
    specs = _check_tasks(document, wrong, more)
    references.check_cycles(document, edges, more)
    makers.check(document, specs, more)
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
        spec=written,
        file=file,
        overrides=tuple(overrides),
        workdir=str(workdir) if workdir else None,
        path=str(folder / File(file).name) if folder else None,
        digest=hashlib.sha256(source).hexdigest(),
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
    named = (beside.factory_of(task, part) for task in params.values() for part in beside.MADE)
    return folder if any(named) else None


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
            faults.append(
                document.place(path, key=True).fault(
                    f"the task name '{shown(name)}'; expected {NAME_WORDS}"
                )
            )
        if name in TaskSpec.model_fields and not (isinstance(data, dict) and "kind" in data):
            faults.append(
                document.place(path, key=True).fault(
                    f"'{name}' stands where a task's name is expected; expected it indented, in "
                    "its task"
                )
            )
            continue
        if not isinstance(data, dict):
            faults.append(
                document.place(path).fault(
                    f"the task '{shown(name)}' is not a map; expected its 'kind' and parameters"
                )
            )
            continue
        kind = data.get("kind")
        merged = _merged(defaults, data)
        if not isinstance(kind, str) or kind not in KINDS:
            faults.append(_kind_fault(document, path, kind, name))
            faults += _faults_without_kind(document, path, merged)
            continue
        model = task_model(kind)
        try:
            specs[name] = model.model_validate_json(_json(merged))
            gangs.check(document, name, specs[name], faults)
        except ValidationError as error:
            faults += translate(error, document, path, model)
    return specs


def _faults_without_kind(document: Document, path: Path, merged: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with the keys that tasks of any kind have."""
    common = {key: merged[key] for key in TaskSpec.model_fields if key in merged}
    try:
        TaskSpec.model_validate_json(_json(common | {"kind": ""}))
    except ValidationError as error:
        return translate(error, document, path, TaskSpec)
    return []


def _merged(defaults: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The task over the job's defaults; of maps (resources, env, retry) the entries are merged."""
    merged = {**defaults, **data}
    for key, default in defaults.items():
        own = data.get(key)
        if isinstance(default, dict) and isinstance(own, dict):
            merged[key] = {**default, **own}
    return merged


def _kind_fault(document: Document, path: Path, kind: Any, name: str) -> Fault:
    if kind is None and (*path, "kind") in document.values:
        return document.place((*path, "kind")).fault(
            f"kind is empty; expected one of {', '.join(KINDS)}"
        )
    if kind is None:
        return document.place(path, key=True).fault(
            f"the task '{shown(name)}' has no 'kind'; expected one of {', '.join(KINDS)}"
        )
    where = document.place((*path, "kind"))
    if not isinstance(kind, str):
        return where.fault(f"kind is not a word; expected one of {', '.join(KINDS)}")
    hint = did_you_mean(kind, KINDS)
    return where.fault(f"no kind is called '{shown(kind)}'{hint}")


def _task(
    name: str, spec: TaskSpec, params: Mapping[str, Any], depends_on: Mapping[str, Path]
) -> Task:
    timeout = spec.timeout
    kind = find(spec.kind)
    resources = spec.resources.resolve(is_gang=kind.is_gang)
    if kind.resources is not None:
        resources = kind.resources(spec, resources)
    return Task(
        name=name,
        kind=spec.kind,
        params=params,
        resources=resources,
        depends_on=tuple(depends_on),
        retry=Retry(max_restarts=spec.retry.max_restarts),
        timeout_s=parse_duration(timeout) if isinstance(timeout, str) else timeout,
        env=spec.env,
        secrets=tuple(spec.secrets),
        seed=spec.seed,
    )
