"""Why a task fits nowhere: what each node lacks for it, and what all of them lack together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from runner.errors import Misfit
from runner.kinds import division, find, precision
from runner.kinds.training import TrainingParams
from runner.model import Accelerator, Inventory, Node, Resources, Task
from runner.plan import slices
from runner.plan.gangs import Layout, bundles_on, of_bundle
from runner.plan.nearest import nearest
from runner.plan.offers import Lack, asks, lacks, of_worker, offered

_MOST_NAMES = 8


def misfit(task: Task, params: TrainingParams | None, inventory: Inventory, lie: Layout) -> Misfit:
    """What the nodes lack for the fewest workers that will do, which are to lie as ``lie``."""
    together = 1 if params is None else params.parallelism.tp

    @cache
    def divides(count: int, num_nodes: int | None) -> bool:
        return division.is_divisible(params, count, num_nodes)

    def serves(ask: Resources) -> bool:
        kind = find(task.kind)
        if ask.topology is not None and ask.num_nodes != 1 and not kind.is_gang:
            return False
        if kind.resources is not None:
            try:
                kind.resources(kind.params.model_validate(dict(task.params), strict=False), ask)
            except ValueError:
                return False
        return params is None or not precision.faults(params, ask)

    lines = explained(inventory.nodes, task.resources, lie)
    if not inventory.nodes:
        lines = [f"{inventory.source} has no nodes"]
    return Misfit(
        task=task.name,
        asks=asks(task.resources),
        lacks=tuple(lines),
        nearest=nearest(
            inventory.nodes,
            task.resources,
            together=together,
            divides=divides,
            serves=serves,
        ),
    )


def explained(nodes: tuple[Node, ...], asked: Resources, lie: Layout) -> list[str]:
    """For every alternative: what each node lacks for a bundle, and what there is in all."""
    lines: list[str] = []
    for accelerator in asked.accelerators:
        if accelerator is not None and slices.wants_slice(asked, accelerator):
            lines += slices.explained(nodes, asked, accelerator)
            continue
        ask, devices = of_bundle(asked, accelerator, lie.size)
        missing = {node.name: lacks(node, ask, devices) for node in nodes}
        beside = f" for {lie.size} workers" if lie.size > 1 and lie.count > 1 else ""
        for node in nodes:
            for lack in missing[node.name]:
                most = max(_has(each, lack, accelerator) for each in nodes)
                what = "node type " if node.count_max is not None else ""
                lines.append(
                    f"asks for {lack.asked}{beside}, {what}{node.name} has {lack.amount(lack.has)}"
                    f"{lack.beside}; the largest offers {lack.amount(most)}"
                )
        lines += _together(nodes, asked, accelerator, lie)
    return list(dict.fromkeys(lines))


def _together(
    nodes: Sequence[Node], asked: Resources, accelerator: Accelerator | None, lie: Layout
) -> Iterator[str]:
    """How many of the workers there is room for, where there is room for some."""
    held = {node.name: bundles_on(node, asked, accelerator, lie) for node in nodes}
    words = of_worker(asked, (accelerator,))
    live = [node.name for node in nodes if node.count_max is None and held[node.name]]
    fewest = "at least " if asked.min_workers is not None else ""
    whole = f"asks for {fewest}{lie.num_workers} workers of {words}"
    if lie.is_spread:
        whole = f"asks for {lie.count} nodes with {lie.size} workers of {words} each"
    unit = 1 if lie.is_spread else lie.size
    if live:
        each = [f"{name} {held[name] * unit}" for name in live]
        if len(each) > _MOST_NAMES:
            each[_MOST_NAMES - 1 :] = ["..."]
        total = sum(held[name] for name in live) * unit
        parts = f" ({', '.join(each)})" if len(live) > 1 and not lie.is_spread else ""
        if lie.is_spread:
            yield f"{whole}, there {'is' if total == 1 else 'are'} {total}"
        else:
            yield f"{whole}, the nodes hold {total}{parts}"
    for node in nodes:
        if node.count_max is not None and held[node.name]:
            yield (
                f"{whole}, of node type {node.name} {node.count_max} can be started, which "
                + (
                    f"makes {held[node.name]}"
                    if lie.is_spread
                    else f"hold {held[node.name] * unit}"
                )
            )


def _has(node: Node, lack: Lack, accelerator: Accelerator | None) -> float:
    if lack.asked.startswith("cpus:"):
        return node.cpus
    if lack.asked.startswith("memory:"):
        return node.memory_bytes
    return offered(node, accelerator) if accelerator else 0.0
