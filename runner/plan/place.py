"""Job + Inventory → Plan: where each task runs and why, or why nothing can take it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from runner.accelerators import device_of, is_custom
from runner.errors import Misfit, PlanError
from runner.kinds.training import TrainingParams
from runner.model import (
    Accelerator,
    Inventory,
    Job,
    Node,
    Placement,
    Plan,
    PlannedTask,
    Resources,
    Task,
)
from runner.plan import slices
from runner.plan.arithmetic import batches
from runner.plan.gangs import Layout, alternatives, bundles_on, hosts, layout
from runner.plan.misfit import misfit
from runner.plan.offers import demand, device_words, is_of, offered
from runner.plan.parallelism import counts_for, device_memory, explain, training_params

TYPE_LABEL = "ray.io/accelerator-type"


def place(job: Job, inventory: Inventory) -> Plan:
    """A plan that binds every task of ``job`` to nodes of ``inventory``.

    A task takes the first of its alternatives that the nodes, live or to be started, can ever hold,
    with as many of the workers that it allows as there is room for.
    Without a wish for devices it keeps off nodes that have some, where there are others. Whether a
    node is free at the moment is not asked: a task waits for that.

    Raises:
        PlanError: With every task that fits nowhere, what each node lacks, and what would fit.
    """
    misfits: list[Misfit] = []
    planned: list[PlannedTask] = []
    waves = _waves(job)
    for task in job.tasks:
        params = training_params(task)
        found = _place_one(task, params, inventory)
        if isinstance(found, Misfit):
            misfits.append(found)
            continue
        batch, words = None, ""
        if params is not None:
            widths, words = explain(params, found.placement.num_workers, found.device_memory)
            batch = batches(params, widths.dp)
        planned.append(
            PlannedTask(
                task=task,
                placement=found.placement,
                batches=batch,
                wave=waves[task.name],
                parallelism=words,
            )
        )
    if misfits:
        lost = {each.task for each in misfits}
        is_up = any(node.count_max is None for node in inventory.nodes)
        hints = [how(each.resources, in_file=not is_up) for each in job.tasks if each.name in lost
                 for how in (slices.how_to_declare, _how_to_declare)]  # fmt: skip
        raise PlanError(misfits, hint=next(filter(None, hints), ""))
    return Plan(job=job, cluster=inventory.source, tasks=tuple(planned))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a task goes, and the memory of each of its devices in bytes, if it is known."""

    placement: Placement
    device_memory: float | None


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


def _place_one(task: Task, params: TrainingParams | None, inventory: Inventory) -> _Place | Misfit:
    asked = task.resources
    together = 1 if params is None else params.parallelism.tp
    counts = counts_for(params, asked)
    layouts = [layout(n, together=together, num_nodes=asked.num_nodes) for n in counts]
    passed: list[str] = []
    for accelerator in _by_resource(asked.accelerators, inventory.nodes):
        if accelerator is not None and slices.wants_slice(asked, accelerator):
            if on_slice := _place_on_slice(task, accelerator, inventory, passed):
                return on_slice
            passed.append(f"{device_words(asked, accelerator)} fits nowhere")
            continue
        for pools in alternatives(inventory.nodes, accelerator):
            # The more workers the better; of as many, the pool that comes first.
            for lie, pool in product(layouts, pools):
                chosen = hosts(pool, asked, accelerator, lie)
                if not chosen:
                    continue
                why = list(passed)
                if accelerator is None and not any(node.accelerators for node in chosen):
                    others = [node for each in pools for node in each if node.accelerators]
                    if any(bundles_on(node, asked, accelerator, lie) for node in others):
                        why.append("keeps off nodes with accelerators")
                return _Place(
                    _placement(
                        task,
                        accelerator,
                        chosen,
                        lie,
                        [*why, _where(asked, accelerator, chosen, lie) + _as(accelerator)],
                    ),
                    device_memory(chosen, asked, accelerator, lie),
                )
        fit = "fits" if layouts[-1].num_workers == 1 else "fit"
        told = f"{_workers(asked, accelerator, layouts[-1])} {fit} nowhere"
        passed += [told] if told not in passed else []
    return misfit(task, params, inventory, layouts[-1])


def _how_to_declare(asked: Resources, *, in_file: bool) -> str:
    """How a node, or a node type, says that it has a device which Ray does not know.

    Empty where none such is asked for.
    """
    for choice in asked.accelerators:
        if choice is None or not is_custom(choice.type or ""):
            continue
        unknown = "a device that Ray does not know is a resource by its name"
        if in_file:
            return f"{unknown}: resources: {{CPU: 4, {choice.type}: {choice.count:g}}}"
        declared = f"--resources='{{\"{choice.type}\": {choice.count:g}}}'"
        return f"{unknown}: ray start --address=HEAD:6379 {declared}"
    return ""


def _as(accelerator: Accelerator | None) -> str:
    """By which resource the device is had, where the request leaves that open."""
    if accelerator is None or accelerator.resource is None or accelerator.type is not None:
        return ""
    return f", by its {accelerator.resource}"


def _by_resource(
    choices: Sequence[Accelerator | None], nodes: Sequence[Node]
) -> Iterator[Accelerator | None]:
    """The alternatives in order, each once for every resource by which nodes have such devices.

    Ray is asked for one resource by its name, and NPUs go by several.
    """
    for choice in choices:
        names: dict[str | None, None] = {}
        if choice is not None:
            names = {
                device.resource: None
                for node in nodes
                for device in node.accelerators
                if offered(replace(node, accelerators=(device,)), choice)
            }
        if choice is None or not names:
            yield choice
        else:
            yield from (replace(choice, resource=name) for name in names)


def _place_on_slice(
    task: Task, accelerator: Accelerator, inventory: Inventory, passed: list[str]
) -> _Place | None:
    """A place on a whole TPU slice: any of those that fit, whichever is free when it starts."""
    asked = task.resources
    found = slices.fitting(inventory.nodes, asked, accelerator)
    if not found:
        return None
    lie = slices.layout_of(found[0])
    each = replace(accelerator, count=found[0].chips_per_host)
    chosen = [node for one in found for node in one.nodes]
    why = [*passed, slices.in_words(asked, accelerator, found)]
    placement = _placement(task, each, chosen, lie, why)
    return _Place(
        replace(placement, in_one_slice=lie.is_spread),
        device_memory(chosen, asked, each, lie),
    )


def _placement(
    task: Task,
    accelerator: Accelerator | None,
    chosen: list[Node],
    lie: Layout,
    why: list[str],
) -> Placement:
    labels = {}
    if chosen[0].count_max is not None and accelerator is not None and accelerator.type is not None:
        labels = {TYPE_LABEL: _spelled(chosen[0], accelerator)}
    return Placement(
        device=device_of(accelerator) if accelerator else "cpu",
        nodes=tuple(node.name for node in chosen),
        node_ids=tuple(node.id for node in chosen if node.id is not None),
        demand=demand(task.resources, accelerator),
        reason="; ".join(why),
        labels=labels,
        bundles=(lie.size,) * lie.count,
        is_spread=lie.is_spread,
    )


def _workers(asked: Resources, accelerator: Accelerator | None, lie: Layout) -> str:
    """The workers and how they are to lie, in words."""
    what = f"{accelerator}" if accelerator else f"cpus:{asked.cpus:g}"
    if lie.num_workers == 1:
        return what
    what = f"{lie.num_workers} workers of {what}"
    if lie.is_spread:
        return f"{what}, {lie.size} on each of {lie.count} nodes,"
    return what if lie.size == 1 else f"{what}, {lie.size} on one node,"


def _where(
    asked: Resources, accelerator: Accelerator | None, chosen: list[Node], lie: Layout
) -> str:
    """Where the workers lie, in words."""
    what = _workers(asked, accelerator, lie)
    count, first = lie.num_workers, chosen[0]
    is_gang = count > 1
    if asked.min_workers is not None and count < asked.num_workers:
        least = asked.min_workers
        what = f"of {least} to {asked.num_workers} workers {count} can be used: {what}"
    fit = "fit" if is_gang else "fits"
    if first.count_max is not None:
        needed = -(-lie.count * first.count_max // bundles_on(first, asked, accelerator, lie))
        name = f"{needed} of {first.name}" if needed > 1 else first.name
        return f"{what} {fit} {name}, of which up to {first.count_max} can be started"
    if len(chosen) == 1:
        return f"{what} {fit} {first.name}"
    if not is_gang or lie.is_spread:
        return f"{what} {fit} any of {len(chosen)} nodes"
    held = sum(bundles_on(node, asked, accelerator, lie) for node in chosen) * lie.size
    return f"{what} {fit} {len(chosen)} nodes, which hold {held} together"


def _spelled(node: Node, accelerator: Accelerator) -> str:
    """The type as the node's own label has it."""
    return next(
        device.type
        for device in node.accelerators
        if device.type and is_of(device, accelerator.type)
    )
