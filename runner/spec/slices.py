"""Whether the TPU that a task asks for exists: its chips, its topology and its hosts agree."""

from __future__ import annotations

from collections.abc import Iterator

from runner.errors import Fault
from runner.kinds import find
from runner.model import Accelerator
from runner.spec.document import Document, shown
from runner.spec.places import asked_for
from runner.spec.shape import ResourcesSpec, TaskSpec, WorkersSpec
from runner.spec.topologies import GENERATIONS, TPU_COUNTS, chips, hosts, pod_type, with_chips

_MOST_LISTED = 12


def check(document: Document, name: str, spec: TaskSpec, faults: list[Fault]) -> None:
    """A fault for each thing that the TPUs asked for and the rest of the resources don't share."""
    asked = spec.resources
    if asked.accelerator_args is not None and asked.topology() is None:
        _check_needed(document, name, asked, faults)
    for index, choice in enumerate(asked.choices()):
        if choice is None or choice.family != "tpu":
            continue
        before = len(faults)
        for field, message in _of_slice(asked, choice, is_gang=find(spec.kind).is_gang):
            where: dict[str, tuple[str | int, ...]] = {
                "accelerators": ("accelerators", index),
                "topology": ("accelerator_args", "topology"),
            }
            place = asked_for(document, name, *where.get(field, (field,)))
            faults.append(place.fault(f"{field}: {message}"))
        if len(faults) > before:
            return


def _check_needed(document: Document, name: str, asked: ResourcesSpec, faults: list[Fault]) -> None:
    """A fault where a topology stands beside devices that have none.

    Not where the defaults of every task name it, and the task has other devices of its own.
    """
    own = ("tasks", name, "resources")
    is_own = (*own, "accelerator_args") in document.values
    if (*own, "accelerators") in document.values and not is_own:
        return
    devices = " or ".join(str(choice) if choice else "cpu" for choice in asked.choices())
    faults.append(asked_for(document, name, "accelerator_args", "topology").fault(
        f"topology: it is of a TPU, and accelerators asks for {devices}; expected such as "
        "TPU-V5E:8 there, or no accelerator_args"))  # fmt: skip


def _of_slice(
    asked: ResourcesSpec, choice: Accelerator, *, is_gang: bool
) -> Iterator[tuple[str, str]]:
    """What is wrong, and with which field: the first thing of each sort."""
    topology = asked.topology()
    if topology is None:
        yield from _of_one_host(asked, choice)
        return
    if choice.type is None:
        yield "accelerators", f"{choice} has a topology but no type; expected such as TPU-V5E:8"
        return
    generation = GENERATIONS[choice.type]
    if topology not in generation.topologies:
        yield "topology", f"{choice.type} has no '{shown(topology)}'{_nearest(choice, topology)}"
        return
    count = chips(topology)
    if choice.count != count:
        name, cores = pod_type(generation, topology), generation.cores_per_chip
        is_cores = choice.count == count * cores and cores > 1
        why = f" ({name} counts cores, {cores} a chip)" if is_cores else ""
        other = with_chips(generation, choice.count)
        yield (
            "accelerators",
            (
                f"{choice} with topology {topology}, which has {count} "
                f"chip{'s' if count > 1 else ''}{why}; expected {choice.type}:{count}"
                + (f", or topology: {other}" if other else "")
            ),
        )
        return
    yield from _of_hosts(asked, hosts(generation, topology), topology, is_gang=is_gang)


def _of_one_host(asked: ResourcesSpec, choice: Accelerator) -> Iterator[tuple[str, str]]:
    """What is wrong with chips for which no topology is given: they must be of one host."""
    generation = GENERATIONS.get(choice.type or "")
    most = generation.most_on_host if generation else max(TPU_COUNTS)
    workers = asked.num_workers.max if isinstance(asked.num_workers, WorkersSpec) else (
        asked.num_workers or 1)  # fmt: skip
    several = max(workers, asked.num_nodes or 1)
    if choice.count <= most and several == 1:
        return
    count = choice.count * (several if choice.count <= most else 1)
    fits = with_chips(generation, count) if generation else None
    expected = f"accelerator_args: {{topology: {fits}}}"
    if fits is None:
        expected = "a type and its topology, such as TPU-V4:8 and accelerator_args: " + (
            "{topology: 2x2x2}")  # fmt: skip
    if choice.count > most:
        what = f"{choice} is of several hosts, each with {most} chips at most"
        yield "accelerators", f"{what}; expected {expected}"
        return
    field = "num_workers" if workers > 1 else "num_nodes"
    whole = f" with {choice.type}:{count:g}" if fits else ""
    yield (
        field,
        (
            f"one worker drives the TPU chips of its host; expected {field}: 1, or the slice that "
            f"several hosts share: {expected}{whole}"
        ),
    )


def _of_hosts(
    asked: ResourcesSpec, counts: tuple[int, ...], topology: str, *, is_gang: bool
) -> Iterator[tuple[str, str]]:
    """What is wrong with the numbers of workers and nodes, of which each host of a slice is one."""
    words = " or ".join(map(str, counts))
    many = f"a slice of {topology} has {words} host{'' if words == '1' else 's'}"
    if isinstance(asked.num_workers, WorkersSpec):
        yield "num_workers", f"{many}, with a worker each; expected a number, or none"
        return
    for field, value in (("num_workers", asked.num_workers), ("num_nodes", asked.num_nodes)):
        if value is not None and value not in counts:
            yield field, f"{many}; expected {field}: {words}, or none"
            return
    if None not in (asked.num_workers, asked.num_nodes) and asked.num_workers != asked.num_nodes:
        yield "num_nodes", f"{many} with a worker each; expected as many as num_workers, or none"
    elif not is_gang and 1 not in counts:
        yield "topology", f"{many}, and this kind runs on one worker; expected one of a single host"


def _nearest(choice: Accelerator, topology: str) -> str:
    """The topology that was meant: the same sides, or else the chips that are asked for."""
    generation = GENERATIONS[choice.type or ""]
    sides = sorted(topology.lower().replace(" ", "").split("x"), key=lambda side: (len(side), side))
    same = "x".join(sides)
    if same in generation.topologies:
        return f"; did you mean '{same}'?"
    if fits := with_chips(generation, choice.count):
        return f"; expected {fits} for {choice}"
    known = generation.topologies
    more = ", ..." if len(known) > _MOST_LISTED else ""
    return f"; expected one of {', '.join(known[:_MOST_LISTED])}{more}"
