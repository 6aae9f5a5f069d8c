"""What a node offers against what a task asks for: fits, or what it lacks, in words."""

from __future__ import annotations

from dataclasses import dataclass

from runner.model import Accelerator, Node, Resources

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
    """For every node and alternative, what is asked for, what the node has, and the most there is."""
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
    """The request closest to this one that some node would take, in the words of a spec."""
    if not nodes:
        return ""
    accelerator = next((choice for choice in asked.accelerators if choice is not None), None)
    with_device = (
        [node for node in nodes if offered(node, accelerator) > 0] if accelerator else []
    )
    if accelerator is not None and with_device:
        best = max(with_device, key=lambda node: (offered(node, accelerator), node.cpus))
        count = min(accelerator.count, offered(best, accelerator))
        device = f"accelerators: {accelerator.type or accelerator.family}:{count:g}"
    else:
        family = accelerator and next(
            (d for node in nodes for d in node.accelerators if d.family == accelerator.family), None
        )
        if family is not None and accelerator is not None:
            best = max(nodes, key=lambda n: sum(d.count for d in n.accelerators
                                                if d.family == family.family))  # fmt: skip
            have = next(d for d in best.accelerators if d.family == family.family)
            device = f"accelerators: {have.type or have.family}:{min(have.count, accelerator.count):g}"
        else:
            best = max(nodes, key=lambda node: (node.cpus, node.memory_bytes))
            device = "accelerators: cpu" if accelerator else ""
    parts = [device] if device else []
    parts.append(f"cpus: {min(asked.cpus, best.cpus):g}")
    if asked.memory_bytes is not None:
        parts.append(f"memory: {int(min(asked.memory_bytes, best.memory_bytes) / 1e6)}MB")
    return f"{', '.join(parts)} would fit {best.name}"
