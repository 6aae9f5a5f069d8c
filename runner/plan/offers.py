"""What a node offers against what a task asks for: fits, or what it lacks, in words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from runner.accelerators import is_custom, resource_of
from runner.model import Accelerator, Node, Resources
from runner.spec.resources import memory_text
from runner.spec.topologies import GENERATIONS, chips, chips_of_pod_type, hosts

# A node type that does not state its memory is taken to have enough; the cloud knows, we don't.
UNSTATED_MEMORY = 1 << 62

_TOPOLOGY = re.compile(r"[1-9][0-9]{0,3}(x[1-9][0-9]{0,3}){1,2}")

# One chip under two names: the cloud says v5e, Ray's labels say V5LITEPOD.
_SAME_TYPE = {"TPU-V5E": "TPU-V5LITEPOD"}


def same_type(name: str) -> str:
    """A type's name as compared: upper case, and one name for what goes by two."""
    return _SAME_TYPE.get(name.upper(), name.upper())


def tpu_of(node: Node) -> Accelerator:
    """The TPU chips of a node that has some."""
    return next(device for device in node.accelerators if device.family == "tpu")


def slice_chips(node: Node) -> int | None:
    """How many chips the TPU slice has that the node is a host of; None where no label says it."""
    about = node.tpu_slice
    if about is None:
        return None
    if about.topology is not None and _TOPOLOGY.fullmatch(about.topology):
        return chips(about.topology)
    return chips_of_pod_type(about.pod_type) if about.pod_type is not None else None


def is_part_of_slice(node: Node) -> bool:
    """Whether the node is one of several hosts of a TPU slice, none of which is of use alone."""
    whole = slice_chips(node)
    has_tpu = any(device.family == "tpu" for device in node.accelerators)
    return has_tpu and whole is not None and whole > tpu_of(node).count


def offered(node: Node, wanted: Accelerator) -> float:
    """How many devices of the wanted family and type the node has to give by itself."""
    if wanted.family == "tpu" and is_part_of_slice(node):
        return 0
    return sum(
        device.count
        for device in node.accelerators
        if device.family == wanted.family
        and is_of(device, wanted.type)
        and wanted.resource in (None, device.resource)
    )


def is_of(device: Accelerator, wanted: str | None) -> bool:
    """Whether the devices are of the type; where none is named, of any that Ray knows.

    Huawei numbers the variants of a processor, and an Ascend910B3 is an Ascend910B.
    """
    found = device.type or ""
    if wanted is None:
        return not is_custom(found)
    variant = same_type(found).removeprefix(same_type(wanted))
    is_variant = wanted.upper().startswith("ASCEND") and variant.isdecimal()
    return same_type(found) == same_type(wanted) or is_variant


@dataclass(frozen=True, slots=True)
class Lack:
    """A resource of which a node has too little: what is asked for, and what there is of it."""

    asked: str
    has: float
    beside: str = ""

    def amount(self, value: float) -> str:
        """An amount of this resource in words."""
        if not self.asked.startswith("memory:"):
            return f"{value:.12g}"
        return memory_text(int(value)) if value < UNSTATED_MEMORY else "an amount not stated"


def lacks(node: Node, asked: Resources, accelerator: Accelerator | None) -> list[Lack]:
    """What keeps the task off this node, resource by resource; empty where it fits."""
    found = []
    if accelerator is not None and offered(node, accelerator) < accelerator.count:
        others = [str(d) for d in node.accelerators if d.family == accelerator.family]
        is_other = accelerator.type is not None or not offered(node, accelerator)
        beside = f" (but {', '.join(others)})" if is_other and others else ""
        if accelerator.family == "tpu" and is_part_of_slice(node):
            about = node.tpu_slice
            name = (about and about.name) or "a slice"
            beside = f" (its {tpu_of(node)} is a part of {name}, which goes as a whole)"
        found.append(Lack(str(accelerator), offered(node, accelerator), beside=beside))
    if node.cpus < asked.cpus:
        found.append(Lack(f"cpus:{asked.cpus:.12g}", node.cpus))
    if asked.memory_bytes is not None and node.memory_bytes < asked.memory_bytes:
        wanted = f"memory:{memory_text(asked.memory_bytes, up=True)}"
        found.append(Lack(wanted, node.memory_bytes))
    return found


def asks(asked: Resources) -> str:
    """The request in one line: ``2 to 8 workers of gpu:1 or cpu, cpus:4, memory:8GB``."""
    least, most = asked.min_workers, asked.num_workers
    workers = f"{least} to {most}" if least is not None else f"{most}"
    words = of_worker(asked, asked.accelerators)
    nodes = asked.num_nodes
    if asked.topology is not None:
        is_wide = any(
            each and each.family == "tpu" and min(hosts(GENERATIONS[each.type], asked.topology)) > 1
            for each in asked.accelerators
            if each and each.type in GENERATIONS
        )
        return f"{words} on each host" if is_wide else words
    over = "" if nodes is None else " on one node" if nodes == 1 else f" over {nodes} nodes"
    return f"{workers} workers of {words}{over}" if most > 1 or over else words


def device_words(asked: Resources, choice: Accelerator | None) -> str:
    """A device, or a TPU slice with its topology: ``gpu:1``, ``TPU-V4:8 (2x2x2)`` or ``cpu``."""
    if choice is None:
        return "cpu"
    is_slice = choice.family == "tpu" and asked.topology is not None
    return f"{choice} ({asked.topology})" if is_slice else str(choice)


def of_worker(asked: Resources, choices: Sequence[Accelerator | None]) -> str:
    """What one worker asks for: ``gpu:1 or cpu, cpus:4, memory:8GB``."""
    devices = " or ".join(device_words(asked, choice) for choice in choices)
    parts = [] if devices == "cpu" else [devices]
    parts.append(f"cpus:{asked.cpus:.12g}")
    if asked.memory_bytes is not None:
        parts.append(f"memory:{memory_text(asked.memory_bytes, up=True)}")
    return ", ".join(parts)


def demand(asked: Resources, accelerator: Accelerator | None) -> dict[str, float]:
    """What Ray is asked for: amounts by Ray's resource names (memory in bytes)."""
    amounts: dict[str, float] = {"CPU": asked.cpus}
    if asked.memory_bytes is not None:
        amounts["memory"] = asked.memory_bytes
    if accelerator is not None:
        amounts[resource_of(accelerator)] = accelerator.count
    return amounts
