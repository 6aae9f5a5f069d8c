"""What a node offers against what a task asks for: fits, or what it lacks, in words."""

from __future__ import annotations

from dataclasses import dataclass

from runner.model import Accelerator, Node, Resources
from runner.spec.resources import TPU_COUNTS, TYPES

RAY_RESOURCE = {"gpu": "GPU", "tpu": "TPU", "npu": "NPU"}

# One chip under two names: the cloud says v5e, Ray's labels say V5LITEPOD.
_SAME_TYPE = {"TPU-V5E": "TPU-V5LITEPOD"}


def same_type(name: str) -> str:
    """A type's name as compared: upper case, and one name for what goes by two."""
    return _SAME_TYPE.get(name.upper(), name.upper())


# The types that a spec can name, as compared.
_SPELLED = {same_type(name) for name in TYPES}


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
    """A resource of which a node has too little: what is asked for, and amounts in its unit."""

    asked: str
    has: float
    unit: str = ""
    beside: str = ""

    def amount(self, value: float) -> str:
        """An amount with its unit."""
        return f"{value:.3g}{self.unit}"


def lacks(node: Node, asked: Resources, accelerator: Accelerator | None) -> list[Lack]:
    """What keeps the task off this node, resource by resource; empty where it fits."""
    found = []
    if accelerator is not None and offered(node, accelerator) < accelerator.count:
        others = [str(d) for d in node.accelerators if d.family == accelerator.family]
        beside = f" (but {', '.join(others)})" if accelerator.type and others else ""
        found.append(Lack(str(accelerator), offered(node, accelerator), beside=beside))
    if node.cpus < asked.cpus:
        found.append(Lack(f"cpus:{asked.cpus:g}", node.cpus))
    if asked.memory_bytes is not None and node.memory_bytes < asked.memory_bytes:
        wanted = f"memory:{asked.memory_bytes / 1e9:.3g}GB"
        found.append(Lack(wanted, node.memory_bytes / 1e9, unit="GB"))
    return found


def explained(nodes: tuple[Node, ...], asked: Resources) -> list[str]:
    """For every node and alternative: what is asked for, what it has, and the most there is."""
    lines = []
    for accelerator in asked.accelerators:
        missing = {node.name: lacks(node, asked, accelerator) for node in nodes}
        for node in nodes:
            for lack in missing[node.name]:
                most = max(_has(each, lack.asked, accelerator) for each in nodes)
                what = "node type " if node.count_max is not None else ""
                lines.append(
                    f"asks for {lack.asked}, {what}{node.name} has {lack.amount(lack.has)}"
                    f"{lack.beside}; the largest offers {lack.amount(most)}"
                )
    return list(dict.fromkeys(lines))


def _has(node: Node, wanted: str, accelerator: Accelerator | None) -> float:
    if wanted.startswith("cpus:"):
        return node.cpus
    if wanted.startswith("memory:"):
        return node.memory_bytes / 1e9
    return offered(node, accelerator) if accelerator else 0.0


def asks(asked: Resources) -> str:
    """The request in one line: ``gpu:8 or cpu, cpus:4, memory:8GB``."""
    devices = " or ".join(str(choice) if choice else "cpu" for choice in asked.accelerators)
    parts = [] if devices == "cpu" else [devices]
    parts.append(f"cpus:{asked.cpus:g}")
    if asked.memory_bytes is not None:
        parts.append(f"memory:{asked.memory_bytes / 1e9:.3g}GB")
    return ", ".join(parts)


def demand(asked: Resources, accelerator: Accelerator | None) -> dict[str, float]:
    """What Ray is asked for: amounts by Ray's resource names (memory in bytes)."""
    amounts: dict[str, float] = {"CPU": asked.cpus}
    if asked.memory_bytes is not None:
        amounts["memory"] = asked.memory_bytes
    if accelerator is not None:
        amounts[RAY_RESOURCE[accelerator.family]] = accelerator.count
    return amounts


def nearest(nodes: tuple[Node, ...], asked: Resources) -> str:
    """The request closest to this one that some node would take, in the words of a spec.

    Close means, in this order: the device asked for, as many of it, as many CPUs, as much memory.
    """
    best: tuple[tuple[float, ...], str] | None = None
    for node in nodes:
        if node.cpus <= 0:
            continue
        for device, closeness in _devices(node, asked):
            cpus = min(asked.cpus, node.cpus)
            words = [f"accelerators: {device}"] if asked.accelerators != (None,) else []
            words.append(f"cpus: {cpus:g}")
            memory = asked.memory_bytes
            if memory is not None:
                memory = min(memory, node.memory_bytes)
                if memory >= 1e6:
                    words.append(f"memory: {int(memory / 1e6)}MB")
            rank = (*closeness, cpus, memory or 0, -(node.count_max is not None))
            if best is None or rank > best[0]:
                best = rank, f"{', '.join(words)} would fit {node.name}"
    return best[1] if best else ""


def _devices(node: Node, asked: Resources) -> list[tuple[str, tuple[float, float]]]:
    """What the node could give instead of the devices asked for, and how close that comes."""
    found = [("cpu", (2.0 if None in asked.accelerators else 0.0, 0.0))]
    for wanted in asked.accelerators:
        for device in node.accelerators:
            if wanted is None or device.family != wanted.family:
                continue
            known = device.type if device.type and same_type(device.type) in _SPELLED else None
            is_same = wanted.type is None or same_type(device.type or "") == same_type(wanted.type)
            name = wanted.type if is_same else known
            most = offered(node, Accelerator(family=wanted.family, type=name, count=1))
            count = min(wanted.count, most)
            if wanted.family == "tpu":
                count = max((chips for chips in TPU_COUNTS if chips <= count), default=0)
            elif count >= 1:
                count = int(count)
            if count > 0:
                words = f"{name or wanted.family}:{count:g}"
                found.append((words, (2.0 if is_same else 1.0, count)))
    return found
