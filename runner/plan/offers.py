"""What a node offers against what a task asks for: fits, or what it lacks, in words."""

from __future__ import annotations

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


def lacks(node: Node, asked: Resources, accelerator: Accelerator | None) -> list[str]:
    """What keeps the task off this node, one phrase a resource; empty where it fits."""
    found = []
    if accelerator is not None and offered(node, accelerator) < accelerator.count:
        has = offered(node, accelerator)
        others = [str(d) for d in node.accelerators if d.family == accelerator.family]
        beside = f" (it has {', '.join(others)})" if accelerator.type and others else ""
        found.append(f"{accelerator}, it offers {has:g}{beside}")
    if node.cpus < asked.cpus:
        found.append(f"cpus:{asked.cpus:g}, it offers {node.cpus:g}")
    if asked.memory_bytes is not None and node.memory_bytes < asked.memory_bytes:
        found.append(f"memory:{asked.memory_bytes / 1e9:.3g}GB, "
                     f"it offers {node.memory_bytes / 1e9:.3g}GB")  # fmt: skip
    return found


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
