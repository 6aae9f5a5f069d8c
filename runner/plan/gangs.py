"""How the workers of a gang lie on nodes: in bundles, each of them whole on one node."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from runner.model import Accelerator, Node, Resources
from runner.plan.offers import UNSTATED_MEMORY, lacks, offered

# Ray counts in units of a ten-thousandth; what differs by less is the same amount.
_TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """``count`` bundles of ``size`` workers; ``is_spread`` keeps them on different nodes."""

    count: int
    size: int
    is_spread: bool = False

    @property
    def num_workers(self) -> int:
        """All of them."""
        return self.count * self.size


def layout(num_workers: int, *, together: int, num_nodes: int | None) -> Layout:
    """How so many workers lie: ``together`` ranks on one node, or as many as each node gets."""
    if num_nodes is not None:
        return Layout(count=num_nodes, size=num_workers // num_nodes, is_spread=num_nodes > 1)
    return Layout(count=num_workers // together, size=together)


def of_bundle(
    asked: Resources, accelerator: Accelerator | None, size: int
) -> tuple[Resources, Accelerator | None]:
    """What ``size`` workers ask of the node that they lie on."""
    memory = asked.memory_bytes
    whole = replace(
        asked,
        cpus=round(asked.cpus * size, 9),
        memory_bytes=None if memory is None else memory * size,
    )
    return whole, accelerator and replace(accelerator, count=accelerator.count * size)


def bundles_on(node: Node, asked: Resources, accelerator: Accelerator | None, lie: Layout) -> int:
    """How many bundles the node can hold; of a node type, all that can be started of it."""
    ask, devices = of_bundle(asked, accelerator, lie.size)
    if lacks(node, ask, devices):
        return 0
    ratios = [node.cpus / ask.cpus]
    if ask.memory_bytes and node.memory_bytes < UNSTATED_MEMORY:
        ratios.append(node.memory_bytes / ask.memory_bytes)
    if devices is not None:
        ratios.append(offered(node, devices) / devices.count)
    held = 1 if lie.is_spread else max(1, math.floor(min(ratios) + _TOLERANCE))
    return held * (node.count_max or 1)


def hosts(
    nodes: Sequence[Node], asked: Resources, accelerator: Accelerator | None, lie: Layout
) -> list[Node]:
    """The nodes that may hold a bundle; none where together they don't hold all of them."""
    held = {id(node): bundles_on(node, asked, accelerator, lie) for node in nodes}
    if sum(held.values()) < lie.count:
        return []
    return [node for node in nodes if held[id(node)]]


def alternatives(
    nodes: Sequence[Node], accelerator: Accelerator | None
) -> Iterator[list[list[Node]]]:
    """Nodes that may share a gang: first those alive, then those to be started, of which one type.

    Each time they come as pools to choose from. Without a wish for devices, nodes that have none
    come first.
    """
    live = [node for node in nodes if node.count_max is None]
    types = [node for node in nodes if node.count_max is not None]
    if accelerator is not None:
        yield [live]
        yield [[node] for node in types]
    else:
        yield [[node for node in live if not node.accelerators], live]
        yield [[node] for node in sorted(types, key=lambda node: bool(node.accelerators))]
