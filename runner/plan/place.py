"""Job + Inventory → Plan: where each task runs and why, or why nothing can take it."""

from __future__ import annotations

from runner.errors import Misfit, PlanError
from runner.model import (
    Accelerator,
    Inventory,
    Job,
    Node,
    Placement,
    Plan,
    PlannedTask,
    Task,
)
from runner.plan.arithmetic import batches
from runner.plan.offers import asks, demand, explained, lacks, nearest, same_type

TYPE_LABEL = "ray.io/accelerator-type"
DEVICES = {"gpu": "cuda", "tpu": "tpu", "npu": "npu"}


def place(job: Job, inventory: Inventory) -> Plan:
    """A plan that binds every task of ``job`` to nodes of ``inventory``.

    A task takes the first of its alternatives that some node, live or to be started, can ever hold.
    Without a wish for devices it keeps off nodes that have some, where there are others. Whether a
    node is free at the moment is not asked: a task waits for that.

    Raises:
        PlanError: With every task that fits nowhere, what each node lacks, and what would fit.
    """
    misfits: list[Misfit] = []
    planned: list[PlannedTask] = []
    waves = _waves(job)
    for task in job.tasks:
        placement = _place_one(task, inventory)
        if placement is None:
            misfits.append(_misfit(task, inventory))
        else:
            planned.append(
                PlannedTask(
                    task=task, placement=placement, batches=batches(task), wave=waves[task.name]
                )
            )
    if misfits:
        raise PlanError(misfits)
    return Plan(job=job, cluster=inventory.source, tasks=tuple(planned))


def _waves(job: Job) -> dict[str, int]:
    """For each task the length of the longest chain before it: wave 0 starts at once."""
    waves: dict[str, int] = {}
    dependants: dict[str, list[str]] = {task.name: [] for task in job.tasks}
    missing = {task.name: len(task.depends_on) for task in job.tasks}
    for task in job.tasks:
        for other in task.depends_on:
            dependants[other].append(task.name)
    ready = [name for name, count in missing.items() if count == 0]
    wave = 0
    while ready:
        following: list[str] = []
        for name in ready:
            waves[name] = wave
            for dependant in dependants[name]:
                missing[dependant] -= 1
                if missing[dependant] == 0:  # the last of what it waits for: the longest chain
                    following.append(dependant)
        ready = following
        wave += 1
    return waves


def _place_one(task: Task, inventory: Inventory) -> Placement | None:
    passed: list[str] = []
    for accelerator in task.resources.accelerators:
        fitting = [node for node in inventory.nodes if not lacks(node, task.resources, accelerator)]
        if not fitting:
            passed.append(f"{accelerator or 'cpu'} fits nowhere")
            continue
        live = [node for node in fitting if node.count_max is None]
        chosen = live or fitting
        why = []
        if accelerator is None:
            plain = [node for node in chosen if not node.accelerators]
            if plain and len(plain) < len(chosen):
                why.append("keeps off nodes with accelerators")
            chosen = plain or chosen
        return _placement(task, accelerator, chosen, [*passed, *why])
    return None


def _placement(
    task: Task, accelerator: Accelerator | None, chosen: list[Node], why: list[str]
) -> Placement:
    starting = chosen[0].count_max is not None
    labels = {}
    what = f"{accelerator}" if accelerator else f"cpus:{task.resources.cpus:g}"
    if starting:
        chosen = chosen[:1]
        if accelerator is not None and accelerator.type is not None:
            labels = {TYPE_LABEL: _spelled(chosen[0], accelerator)}
        where = f"{what} fits {chosen[0].name}, of which up to {chosen[0].count_max} can be started"
    elif len(chosen) == 1:
        where = f"{what} fits {chosen[0].name}"
    else:
        where = f"{what} fits any of {len(chosen)} nodes"
    return Placement(
        device=DEVICES[accelerator.family] if accelerator else "cpu",
        nodes=tuple(node.name for node in chosen),
        node_ids=tuple(node.id for node in chosen if node.id is not None),
        demand=demand(task.resources, accelerator),
        reason="; ".join([*why, where]),
        labels=labels,
    )


def _spelled(node: Node, accelerator: Accelerator) -> str:
    """The type as the node's own label has it."""
    return next(
        device.type
        for device in node.accelerators
        if device.type and same_type(device.type) == same_type(accelerator.type or "")
    )


def _misfit(task: Task, inventory: Inventory) -> Misfit:
    lines = explained(inventory.nodes, task.resources)
    if not inventory.nodes:
        lines = [f"{inventory.source} has no nodes"]
    return Misfit(
        task=task.name,
        asks=asks(task.resources),
        lacks=tuple(lines),
        nearest=nearest(inventory.nodes, task.resources),
    )
