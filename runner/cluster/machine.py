"""This machine as an embedded cluster would see it, without starting one."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from runner.accelerators import accelerators_of, family_of
from runner.model import Accelerator, Inventory, Node, TpuSlice

# What is kept free for the operating system and Ray's own processes.
RESERVED_MEMORY_BYTES = 1_000_000_000
OBJECT_STORE_BYTES = 100_000_000


def inventory() -> Inventory:
    """One node: the CPUs this process may use, its memory, and the accelerators Ray detects."""
    accelerators, labels = _accelerators()
    node = Node(
        name=socket.gethostname(),
        id=None,
        cpus=float(cpu_count()),
        memory_bytes=memory_bytes(),
        accelerators=accelerators,
        tpu_slice=tpu_slice(labels),
    )
    return Inventory(source="this machine (an embedded cluster)", nodes=(node,))


def cpu_count() -> int:
    """CPUs this process may run on, held to the control group's quota where there is one."""
    allowed = len(os.sched_getaffinity(0))
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, period = quota.read_text().split()
        if limit != "max":
            allowed = min(allowed, max(1, int(limit) // int(period)))
    return allowed


def memory_bytes() -> int:
    """Memory that workers may be promised: the machine's or control group's, less a reserve."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()) != "max":
        total = min(total, int(text))
    return max(total - RESERVED_MEMORY_BYTES, total // 2)


def tpu_slice(labels: Mapping[str, str]) -> TpuSlice | None:
    """The TPU slice of which a node with these labels is a host; None where it is of none."""
    names = ("slice-name", "topology", "pod-type", "worker-id")
    name, topology, pod_type, worker = (labels.get(f"ray.io/tpu-{each}") for each in names)
    if name is None and topology is None and pod_type is None:
        return None
    return TpuSlice(
        name=name,
        topology=topology,
        pod_type=pod_type,
        worker_id=int(worker) if worker is not None and worker.isdecimal() else None,
    )


def _accelerators() -> tuple[tuple[Accelerator, ...], dict[str, str]]:
    """The devices, and the labels that they give the node."""
    # Ray detects these when a node starts; asked here by the same code, so that a plan made
    # before the cluster is up and the cluster itself agree.
    from ray._private.accelerators import get_all_accelerator_managers

    found: list[Accelerator] = []
    labels: dict[str, str] = {}
    for manager in get_all_accelerator_managers():
        resource = manager.get_resource_name()
        count = manager.get_current_node_num_accelerators() if family_of(resource) else 0
        if count:
            kind = manager.get_current_node_accelerator_type()
            found += accelerators_of({resource: count}, kind)
            labels |= manager.get_current_node_accelerator_labels() or {}
    return tuple(found), labels
