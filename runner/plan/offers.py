"""What a node offers against what a task asks for: fits, or what it lacks, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runner.model import Accelerator, Node, Resources
from runner.spec.resources import memory_text

# A node type that does not state its memory is taken to have enough; the cloud knows, we don't.
UNSTATED_MEMORY = 1 << 62

RAY_RESOURCE = {"gpu": "GPU", "tpu": "TPU", "npu": "NPU"}

# One chip under two names: the cloud says v5e, Ray's labels say V5LITEPOD.
_SAME_TYPE = {"TPU-V5E": "TPU-V5LITEPOD"}


def same_type(name: str) -> str:
    """A type's name as compared: upper case, and one name for what goes by two."""
    return _SAME_TYPE.get(name.upper(), name.upper())


def offered(node: Node, wanted: Accelerator) -> float:
    """How many devices of the wanted family and type the node has."""
    return sum(
        device.count
        for device in node.accelerators
        if device.family == wanted.family
        and (wanted.type is None or same_type(device.type or "") == same_type(wanted.type))
    )


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
        beside = f" (but {', '.join(others)})" if accelerator.type and others else ""
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
    over = "" if nodes is None else " on one node" if nodes == 1 else f" over {nodes} nodes"
    return f"{workers} workers of {words}{over}" if most > 1 or over else words


def of_worker(asked: Resources, choices: Sequence[Accelerator | None]) -> str:
    """What one worker asks for: ``gpu:1 or cpu, cpus:4, memory:8GB``."""
    devices = " or ".join(str(choice) if choice else "cpu" for choice in choices)
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
        amounts[RAY_RESOURCE[accelerator.family]] = accelerator.count
    return amounts
