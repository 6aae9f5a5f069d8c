"""TPU slices: which nodes make one up, which of them a task can have, and why it can have none.

A slice goes to a task as a whole: its chips are wired to each other, and the hosts of one that has
several only start together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from runner.model import Accelerator, Node, Resources, TpuSlice
from runner.plan.gangs import Layout
from runner.plan.offers import (
    device_words,
    is_part_of_slice,
    lacks,
    same_type,
    slice_chips,
    tpu_of,
)
from runner.spec.topologies import GENERATIONS, hosts, pod_type, with_chips

_MOST_NAMES = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """A TPU slice: those of its hosts that are up, or a node type that is the single host of one.

    ``topology`` is that of a single host with as many chips where no label says it, with
    ``is_inferred``, and None where there is none; ``name`` is then that of the node.
    """

    name: str
    type: str | None
    topology: str | None
    nodes: tuple[Node, ...]
    is_inferred: bool = False

    @property
    def chips(self) -> int:
        """The chips of the hosts that are up."""
        return int(sum(tpu_of(node).count for node in self.nodes))

    @property
    def chips_per_host(self) -> int:
        """The chips of each of its hosts."""
        return int(tpu_of(self.nodes[0]).count)

    @property
    def hosts(self) -> int:
        """How many hosts it has when all are up."""
        return -(-(slice_chips(self.nodes[0]) or self.chips) // self.chips_per_host)

    @property
    def is_whole(self) -> bool:
        """Whether all of its hosts are up, and each as large as the others."""
        return len(self.nodes) == self.hosts and self.chips == self.hosts * self.chips_per_host

    def __str__(self) -> str:
        kind = f"{self.type or 'tpu'}:{slice_chips(self.nodes[0]) or self.chips}"
        return f"{kind} ({self.topology or 'of no known topology'}" + (
            ", as no label says otherwise)" if self.is_inferred else ")")  # fmt: skip


def slices(nodes: Sequence[Node]) -> list[Slice]:
    """The slices that the live nodes make up, whole or not, and those of node types."""
    together: dict[tuple[str | None, ...], list[Node]] = {}
    for node in nodes:
        if not any(device.family == "tpu" and device.count >= 1 for device in node.accelerators):
            continue
        about = node.tpu_slice or TpuSlice()
        key: tuple[str | None, ...] = (about.name, about.topology, tpu_of(node).type)
        if about.name is None or node.count_max is not None or not is_part_of_slice(node):
            key = (node.name, node.id)
        together.setdefault(key, []).append(node)
    return [_slice(found) for found in together.values()]


def _slice(found: Sequence[Node]) -> Slice:
    about, tpu = found[0].tpu_slice or TpuSlice(), tpu_of(found[0])
    topology, generation = about.topology, GENERATIONS.get((tpu.type or "").upper())
    if topology is None and generation is not None and not is_part_of_slice(found[0]):
        topology = with_chips(generation, tpu.count)
    return Slice(
        name=about.name or found[0].name,
        type=tpu.type,
        topology=topology,
        nodes=tuple(found),
        is_inferred=topology is not None and about.topology is None and about.pod_type is None,
    )


def wants_slice(asked: Resources, accelerator: Accelerator | None) -> bool:
    """Whether this alternative is a TPU slice, and not devices of one node."""
    return asked.topology is not None and accelerator is not None and accelerator.family == "tpu"


def fitting(nodes: Sequence[Node], asked: Resources, accelerator: Accelerator) -> list[Slice]:
    """The slices that the task can have, all with as many hosts: live ones before node types.

    Where some have all chips on fewer hosts, these.
    """
    fits = [each for each in slices(nodes) if not _against(each, asked, accelerator)]
    live = [each for each in fits if each.nodes[0].count_max is None]
    fewest = min((each.hosts for each in live), default=None)
    return [each for each in live if each.hosts == fewest] or fits[:1]


def layout_of(found: Slice) -> Layout:
    """A worker on each host, which owns all of its chips."""
    return Layout(count=found.hosts, size=1, is_spread=found.hosts > 1)


def in_words(asked: Resources, accelerator: Accelerator, found: Sequence[Slice]) -> str:
    """Which slice the task takes, and how its workers lie on it."""
    what, first = device_words(asked, accelerator), found[0]
    if first.nodes[0].count_max is not None:
        most = first.nodes[0].count_max
        return f"{what} fits {first.name}, of which up to {most} can be started"
    names = [each.name for each in found]
    some = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
    which = f"the slice {some}" if len(names) == 1 else f"whichever of the slices {some} is free"
    chips = f"{first.chips_per_host} chip{'s' if first.chips_per_host > 1 else ''}"
    if first.hosts == 1:
        where = f"all {chips} of {first.nodes[0].name}" if len(names) == 1 else (
            f"all {chips} of its host")  # fmt: skip
        return f"{what} takes {which}: {where}"
    return f"{what} takes {which}: a worker on each of its {first.hosts} hosts, {chips} each"


def explained(nodes: Sequence[Node], asked: Resources, accelerator: Accelerator) -> list[str]:
    """What keeps the task off each slice, and which nodes have no TPU."""
    lines = [line for each in slices(nodes) for line in _against(each, asked, accelerator)]
    what = device_words(asked, accelerator)
    for node in nodes:
        if not any(device.family == "tpu" for device in node.accelerators):
            lines.append(f"asks for {what}, {_called(node)} has no TPU")
    return lines


def _against(found: Slice, asked: Resources, accelerator: Accelerator) -> list[str]:
    """What keeps the task off a slice, in words; nothing where it fits."""
    what = f"asks for {device_words(asked, accelerator)}"
    whole = len(found.nodes) == 1 and found.name == found.nodes[0].name
    called = _called(found.nodes[0]) if whole else f"the slice {found.name}"
    is_type = found.nodes[0].count_max is not None
    is_same_type = same_type(found.type or "") == same_type(accelerator.type or "")
    if not is_same_type or found.topology != asked.topology:
        return [f"{what}, {called} is {found}"]
    if is_type and found.hosts > 1:
        return [
            f"{what}, {called} is one of {found.hosts} hosts, which Ray's launcher can't start "
            "together"
        ]
    about = found.nodes[0].tpu_slice
    if found.hosts > 1 and (about is None or about.name is None):
        return [
            f"{what}, {called} is one of {found.hosts} hosts and does not say of which slice "
            "(TPU_NAME)"
        ]
    if len(found.nodes) > found.hosts:
        return [
            f"{what}, {len(found.nodes)} hosts say that they are of {called}, which has "
            f"{found.hosts}: each slice needs a name (TPU_NAME) of its own"
        ]
    if not found.is_whole:
        names = ", ".join(node.name for node in found.nodes)
        return [f"{what}, of {called} {len(found.nodes)} of {found.hosts} hosts are up ({names})"]
    wanted = asked.num_nodes or (asked.num_workers if asked.num_workers > 1 else None)
    if wanted not in (None, found.hosts):
        return [f"{what} on {wanted} hosts, {called} has {found.hosts}"]
    return [
        f"asks for {lack.asked} on each host, {node.name} has {lack.amount(lack.has)}"
        for node in found.nodes
        for lack in lacks(node, asked, None)
    ]


def _called(node: Node) -> str:
    return f"node type {node.name}" if node.count_max is not None else node.name


def alike(
    nodes: Sequence[Node], asked: Resources, wanted: Accelerator
) -> Iterator[tuple[Resources, tuple[float, float], str]]:
    """Requests for a whole slice that is there: what they ask, how close that comes, and where.

    Close is, before all else, one of the same type; then as many chips.
    """
    for each in slices(nodes):
        generation = GENERATIONS.get((each.type or "").upper())
        if generation is None or not each.is_whole:
            continue
        topology = each.topology
        if topology not in generation.topologies or each.hosts not in hosts(generation, topology):
            continue
        if each.hosts > 1 and each.nodes[0].count_max is not None:
            continue
        if each.hosts == 1 and asked.topology is None:
            continue  # a host of it is a node like any other
        is_same = wanted.type is None or same_type(wanted.type) == same_type(each.type or "")
        name = wanted.type if is_same and wanted.type else each.type
        cpus = min(asked.cpus, *(node.cpus for node in each.nodes))
        if cpus <= 0:
            continue
        memory = asked.memory_bytes
        chips = float(each.chips)
        yield (
            replace(
                asked,
                accelerators=(Accelerator(family="tpu", type=name, count=chips),),
                topology=topology,
                cpus=cpus,
                memory_bytes=None if memory is None else min(
                    memory, *(node.memory_bytes for node in each.nodes)),
                num_workers=each.hosts,
                num_nodes=each.hosts,
            ),
            (2.0 if is_same else 1.0, min(chips, wanted.count**2 / chips)),
            each.name,
        )  # fmt: skip


def how_to_declare(asked: Resources, *, in_file: bool = False) -> str:
    """What to do where a TPU is there and Ray does not see it; empty where none is asked for.

    ``in_file`` is for the node types of a cluster file.
    """
    wanted = next((each for each in asked.accelerators if each and each.family == "tpu"), None)
    if wanted is None:
        return ""
    generation = GENERATIONS[wanted.type or "TPU-V5E"]
    fits = with_chips(generation, wanted.count) or generation.topologies[0]
    topology = asked.topology or fits
    count = hosts(generation, topology)[0]
    per_host = math.prod(int(side) for side in topology.split("x")) // count
    each = f"on each of its {count} hosts, with ids from 0" if count > 1 else "on its host"
    if in_file and count == 1:
        return (
            "Ray's launcher knows of a TPU what its node type says under available_node_types, "
            f"such as:\n  resources: {{CPU: 96, TPU: {per_host}}}\n"
            f"  labels: {{ray.io/accelerator-type: {wanted.type or 'TPU-V5E'}, "
            f"ray.io/tpu-topology: {topology}}}"
        )
    why = "Ray's launcher can't start the hosts of a slice together: start them, and declare it"
    if not in_file:
        why = (
            "Ray sees a TPU by its devices (/dev/accel*, /dev/vfio), and its slice by these "
            "variables or Google's metadata server. Declare one that it does not see"
        )
    return (
        f"{why}, {each}:\n"
        f"  TPU_NAME=my-slice TPU_WORKER_ID=0 TPU_TOPOLOGY={topology} "
        f"TPU_ACCELERATOR_TYPE={pod_type(generation, topology)} \\\n"
        f"    ray start --address=HEAD:6379 --resources='{{\"TPU\": {per_host}}}'"
    )
