"""The request nearest to one that nothing can hold, in the words of a spec."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from runner.accelerators import is_custom
from runner.model import Accelerator, Node, Resources
from runner.plan import slices
from runner.plan.gangs import alternatives, bundles_on, hosts, layout
from runner.plan.offers import is_of, offered, same_type
from runner.spec.resources import TYPES, memory_text, parse_accelerator
from runner.spec.topologies import TPU_COUNTS

# The types that a spec can name, as compared.
_SPELLED = {same_type(name) for name in TYPES}

# Below this a node's memory is left out of what is said: it is none to speak of.
_LEAST_MEMORY = 1e6

Divides = Callable[[int, int | None], bool]


def nearest(
    nodes: tuple[Node, ...],
    asked: Resources,
    *,
    together: int,
    divides: Divides,
    serves: Callable[[Resources], bool],
) -> str:
    """The request closest to this one that the nodes would take.

    Close means, in this order: the device asked for, as many of it, as many workers, as many CPUs,
    as much memory. ``together`` workers lie on one node; ``divides`` says whether the task can run
    with so many workers, on so many nodes, ``serves`` whether it can run on such devices.
    """
    best: tuple[tuple[float, ...], str] | None = None
    for wanted in asked.accelerators:
        if wanted is None or wanted.family != "tpu":
            continue
        for ask, closeness, where in slices.alike(nodes, asked, wanted):
            rank = (*closeness, 1, ask.cpus, ask.memory_bytes or 0, 0)
            if serves(ask) and (best is None or rank > best[0]):
                best = rank, f"{_words(asked, ask, str(ask.accelerators[0]))} would fit {where}"
    said = asked
    if asked.topology is not None:  # what follows are devices of one node
        others = [each for each in asked.accelerators if each is None or each.family != "tpu"]
        asked = replace(
            asked, accelerators=tuple(others), topology=None, num_workers=1, num_nodes=None
        )
    for node in nodes:
        if node.cpus <= 0:
            continue
        for device, closeness in _devices(node, asked):
            memory = asked.memory_bytes
            ask = replace(
                asked,
                accelerators=(parse_accelerator(device),),
                cpus=min(asked.cpus, node.cpus),
                memory_bytes=None if memory is None else min(memory, node.memory_bytes),
            )
            if not serves(ask):
                continue
            if asked.num_workers == 1 and asked.num_nodes is None:
                found, where = ask, node.name
            else:
                live, _ = alternatives(nodes, ask.accelerators[0])
                pools = live if node.count_max is None else [[node]]
                fitting = _gang(pools, node, ask, together, divides)
                if fitting is None:
                    continue
                found, where = fitting
            rank = (*closeness, found.num_workers, found.cpus, found.memory_bytes or 0,
                    -(node.count_max is not None))  # fmt: skip
            if best is None or rank > best[0]:
                best = rank, f"{_words(said, found, device)} would fit {where}"
    return best[1] if best else ""


def _words(asked: Resources, found: Resources, device: str) -> str:
    words = []
    if asked.num_workers > 1:
        words.append(f"num_workers: {found.num_workers}")
    if asked.num_nodes is not None and (asked.topology is None or asked.num_workers > 1):
        words.append(f"num_nodes: {found.num_nodes}")
    if asked.accelerators != (None,):
        words.append(f"accelerators: {device}")
    if found.topology is not None:
        words.append(f"accelerator_args: {{topology: {found.topology}}}")
    elif asked.topology is not None:
        words.append("accelerator_args: null")
    words.append(f"cpus: {found.cpus:.12g}")
    if found.memory_bytes is not None and found.memory_bytes >= _LEAST_MEMORY:
        words.append(f"memory: {memory_text(found.memory_bytes)}")
    return ", ".join(words)


def _gang(
    pools: list[list[Node]], node: Node, ask: Resources, together: int, divides: Divides
) -> tuple[Resources, str] | None:
    """The most such workers that a pool takes, and where; else less for each, on ``node``.

    The last pool holds the nodes of those before it.
    """
    [accelerator] = ask.accelerators
    single = layout(together, together=together, num_nodes=None)
    room = sum(bundles_on(each, ask, accelerator, single) for each in pools[-1]) * together
    most = sum(each.count_max or 1 for each in pools[-1])
    spread = [None] if ask.num_nodes is None else range(min(ask.num_nodes, most), 0, -1)
    for count in range(min(ask.num_workers, room), 0, -1):
        for num_nodes in spread:
            if not divides(count, num_nodes):
                continue
            lie = layout(count, together=together, num_nodes=num_nodes)
            found = (hosts(pool, ask, accelerator, lie) for pool in pools)
            if chosen := next(filter(None, found), []):
                where = chosen[0].name if len(chosen) == 1 else f"{len(chosen)} nodes"
                return replace(ask, num_workers=count, num_nodes=num_nodes), where
    num_nodes = None if ask.num_nodes is None else 1
    fewest = next((n for n in range(1, ask.num_workers + 1) if divides(n, num_nodes)), None)
    if fewest is None:
        return None
    memory = ask.memory_bytes
    less = replace(
        ask,
        num_workers=fewest,
        num_nodes=num_nodes,
        # Rounded down to what Ray can count.
        cpus=min(ask.cpus, math.floor(node.cpus / fewest * 10_000) / 10_000),
        memory_bytes=None if memory is None else min(memory, node.memory_bytes // fewest),
    )
    lie = layout(fewest, together=fewest, num_nodes=None)
    return (less, node.name) if less.cpus and hosts([node], less, accelerator, lie) else None


def _can_be_named(name: str) -> bool:
    return is_custom(name) or same_type(name) in _SPELLED


def _devices(node: Node, asked: Resources) -> list[tuple[str, tuple[float, float]]]:
    """What the node could give instead of the devices asked for, and how close that comes."""
    found = [("cpu", (2.0 if None in asked.accelerators else 0.0, 0.0))]
    for wanted in asked.accelerators:
        for device in node.accelerators:
            if wanted is None or device.family != wanted.family:
                continue
            known = device.type if device.type and _can_be_named(device.type) else None
            is_same = wanted.type is None or is_of(device, wanted.type)
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
