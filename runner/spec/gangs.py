"""Whether a task can have the devices and the workers that it asks for."""

from __future__ import annotations

from typing import Any

from runner.accelerators import CUSTOM, is_custom
from runner.errors import Fault
from runner.kinds import find
from runner.kinds.division import faults as faults_of_division
from runner.kinds.precision import faults as faults_of_precision
from runner.kinds.training import TrainingParams
from runner.model import Accelerator
from runner.spec import slices
from runner.spec.document import Document, Path
from runner.spec.faults import place_named
from runner.spec.places import asked_for
from runner.spec.shape import MAX_WORKERS, TaskSpec, WorkersSpec, gpus_of


def check(document: Document, name: str, spec: TaskSpec, faults: list[Fault]) -> None:
    """A fault for each thing that the task's kind, or the number of its workers, speaks against."""
    before = len(faults)
    _check_devices(document, name, spec, faults)
    if len(faults) == before:
        slices.check(document, name, spec, faults)
    _check_kind(document, name, spec, faults)
    if not find(spec.kind).is_gang:
        _check_alone(document, name, spec, faults)
        return
    before = len(faults)
    _check_shares(document, name, spec, faults)
    if len(faults) > before:
        return
    task: Any = spec  # a task's model is that of its kind's parameters as well
    is_torch = find(spec.kind).framework_of(dict(task)) == "torch"
    params = task if isinstance(task, TrainingParams) and is_torch else None
    resources = spec.resources.resolve(is_gang=True)
    messages = faults_of_division(params, resources)
    messages += [] if params is None else faults_of_precision(params, resources)
    for message in messages:
        place = place_named(document, _keys(document, name), message)
        place = place or document.place(("tasks", name), key=True)
        faults.append(place.fault(f"{name}: {message}"))


def _check_kind(document: Document, name: str, spec: TaskSpec, faults: list[Fault]) -> None:
    """A fault where what the kind has to say of resources speaks against those asked for."""
    kind = find(spec.kind)
    if kind.resources is None:
        return
    try:
        kind.resources(spec, spec.resources.resolve(is_gang=kind.is_gang))
    except ValueError as error:
        place = place_named(document, _keys(document, name), str(error))
        place = place or document.place(("tasks", name), key=True)
        faults.append(place.fault(f"{name}: {error}"))


def _keys(document: Document, name: str) -> list[Path]:
    """The keys that may speak against each other, those of the widths first."""
    task: Path = ("tasks", name)
    holders: tuple[Path, ...] = (
        (*task, "parallelism"),
        (*task, "model", "args"),
        task,
        (*task, "resources"),
        ("resources",),
    )
    return [path for holder in holders for path in document.keys if path[:-1] == holder]


def _check_devices(document: Document, name: str, spec: TaskSpec, faults: list[Fault]) -> None:
    """A fault where the task asks for a family of devices that its kind can't use."""
    usable = find(spec.kind).devices
    for index, choice in enumerate(spec.resources.choices()):
        if choice is not None and _sort(choice) not in usable:
            faults.append(asked_for(document, name, "accelerators", index).fault(
                f"accelerators: the kind {spec.kind} does not run on {choice}; "
                f"expected {' or '.join(usable)}"))  # fmt: skip


def _sort(choice: Accelerator) -> str:
    """What a kind's devices call it: of those that Ray does not know, ``npu-*``."""
    return f"{CUSTOM}*" if choice.type and is_custom(choice.type) else choice.family


def _check_alone(document: Document, name: str, spec: TaskSpec, faults: list[Fault]) -> None:
    """A fault where a task of a kind that runs on one worker asks for more."""
    asked = spec.resources
    for field, value in (("num_workers", asked.num_workers), ("num_nodes", asked.num_nodes)):
        if value not in (None, 1):
            faults.append(asked_for(document, name, field).fault(
                f"{field}: the kind {spec.kind} runs on one worker; "
                f"expected {field}: 1 in the resources of '{name}'"))  # fmt: skip


def _check_shares(document: Document, name: str, spec: TaskSpec, faults: list[Fault]) -> None:
    """A fault where the GPUs asked for don't come to one for each worker."""
    asked = spec.resources
    choices = asked.choices()
    workers = asked.num_workers
    most = workers.max if isinstance(workers, WorkersSpec) else workers
    if most is None and len({gpus_of(choice) for choice in choices if choice is not None}) > 1:
        words = " and ".join(str(choice) for choice in choices if choice is not None)
        faults.append(asked_for(document, name, "accelerators").fault(
            f"accelerators: {words} make different numbers of workers; expected one number, or "
            "num_workers and one device in each"))  # fmt: skip
        return
    for index, choice in enumerate(choices):
        is_npu = choice is not None and choice.family == "npu"
        if choice is not None and is_npu and (choice.count > 1 or most not in (None, 1)):
            faults.append(asked_for(document, name, "accelerators", index).fault(
                f"accelerators: {choice}{f' with num_workers {most}' if most else ''}; one worker "
                f"drives one NPU, and several workers only GPUs; expected {_one(choice)}, and no "
                "num_workers"))  # fmt: skip
        if choice is None or choice.family != "gpu":
            continue
        place = asked_for(document, name, "accelerators", index)
        if most is not None and choice.count > 1:
            faults.append(place.fault(
                f"accelerators: {choice} with num_workers {most}; one worker drives one GPU, "
                f"expected {_one(choice)} with num_workers: {int(choice.count) * most}, or without "
                "num_workers"))  # fmt: skip
        elif choice.count < 1 and asked.resolve(is_gang=True).num_workers > 1:
            faults.append(place.fault(
                f"accelerators: {choice} is a share of a GPU, which goes with one worker only; "
                f"expected {_one(choice)} for each"))  # fmt: skip
    made = asked.resolve(is_gang=True).num_workers
    if made > MAX_WORKERS:
        faults.append(asked_for(document, name, "accelerators").fault(
            f"accelerators: they make {made} workers; expected at most {MAX_WORKERS}"))  # fmt: skip


def _one(choice: Accelerator) -> str:
    return f"{choice.type or choice.family}:1"
