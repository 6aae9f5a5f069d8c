"""Inventory → Plan: a task of kind bench on every node, to measure what each can do."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from runner.errors import ClusterError
from runner.model import Inventory, Node, Plan
from runner.plan.place import place
from runner.spec import load

JOB = "bench-nodes"
SECONDS = 5.0  # for the products of each node
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_NAME_LENGTH = 48


def measure_nodes(inventory: Inventory) -> Plan:
    """A plan with one task a node, bound to it: a worker for each of its GPUs, else all its CPUs.

    A node without CPUs can hold no task, and has none. Raises ClusterError if no node has any.
    """
    nodes = [node for node in inventory.nodes if node.cpus >= 1]
    if not nodes:
        raise ClusterError(
            f"{inventory.source} has no node with a CPU to measure",
            hint="start its nodes with at least one CPU: ray start --num-cpus=1",
        )
    names = _task_names(nodes)
    tasks = {name: _task(node) for name, node in zip(names, nodes, strict=True)}
    # No file holds this spec; the report tells by that which command made it.
    job = load(json.dumps({"name": JOB, "tasks": tasks}).encode(), file="", environment={})
    planned = [
        placed
        for task, node in zip(job.tasks, nodes, strict=True)
        for placed in place(replace(job, tasks=(task,)), replace(inventory, nodes=(node,))).tasks
    ]
    return Plan(job=job, cluster=inventory.source, tasks=tuple(planned))


def _task(node: Node) -> dict[str, Any]:
    gpus = sum(int(device.count) for device in node.accelerators if device.family == "gpu")
    cpus = max(1, int(node.cpus) // max(1, gpus))
    resources: dict[str, Any] = {"cpus": cpus}
    if gpus:
        workers = min(gpus, int(node.cpus))
        resources |= {"accelerators": "gpu:1", "num_workers": workers}
    return {"kind": "bench", "seconds": SECONDS, "resources": resources}


def _task_names(nodes: list[Node]) -> list[str]:
    """For each node its name as a task's: what else is in it becomes a hyphen; each stands once."""
    names: list[str] = []
    for node in nodes:
        plain = _NOT_IN_NAMES.sub("-", node.name).strip("-_")[:_NAME_LENGTH] or "node"
        name, count = plain, 1
        while name in names:
            count += 1
            name = f"{plain}-{count}"
        names.append(name)
    return names
