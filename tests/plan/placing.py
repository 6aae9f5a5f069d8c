"""Jobs, tasks and nodes made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from runner.model import Accelerator, Inventory, Job, Node, Resources, Task, TpuSlice
from runner.spec.resources import parse_accelerator

PARAMS = {"model": {"name": "mlp"}, "data": {"name": "digits"}, "max_epochs": 2}


def task(name: str = "t", devices: str = "cpu", **more: Any) -> Task:
    """A task that asks for ``devices``, alternatives parted by blanks."""
    resources = Resources(
        cpus=more.pop("cpus", 1.0),
        memory_bytes=more.pop("memory_bytes", None),
        accelerators=tuple(parse_accelerator(word) for word in devices.split()),
        num_workers=more.pop("num_workers", 1),
        min_workers=more.pop("min_workers", None),
        num_nodes=more.pop("num_nodes", None),
        topology=more.pop("topology", None),
    )
    more.setdefault("params", PARAMS)
    more.setdefault("kind", "train")
    return Task(name=name, resources=resources, **more)


def job(*tasks: Task) -> Job:
    return Job(name="job", tasks=tasks, spec={}, file="job.yaml")


def node(
    name: str, devices: str = "", *, cpus: float = 8, gb: float = 32, most: int | None = None
) -> Node:
    """A live node, or with ``most`` a node type; ``devices`` such as ``H100:8 npu:1``."""
    return Node(
        name=name,
        id=None if most is not None else f"id-{name}",
        cpus=cpus,
        memory_bytes=int(gb * 1e9),
        accelerators=tuple(device(word) for word in devices.split()),
        count_max=most,
    )


def host(
    name: str, devices: str, *, of: str | None = None, topology: str | None = None, **more: Any
) -> Node:
    """A node that is a host of the TPU slice ``of`` with that topology, as far as they are said."""
    about = TpuSlice(name=of, topology=topology, pod_type=more.pop("pod_type", None))
    return replace(node(name, devices, **more), tpu_slice=about)


def device(word: str) -> Accelerator:
    """A node's devices, spelled ``family/type:count``; the type as Ray has it."""
    family, _, rest = word.partition("/")
    kind, _, count = rest.partition(":")
    return Accelerator(family=family, type=kind or None, count=float(count))


def inventory(*nodes: Node) -> Inventory:
    return Inventory(source="by hand", nodes=nodes)
