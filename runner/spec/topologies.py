"""The topologies of TPU slices: of how many chips and hosts each is, by generation.

Source: cloud.google.com/tpu/docs (v2, v3, v4, v5e, v5p, v6e, tpu7x, types-topologies) and the
tables of "Plan TPUs in GKE". A name such as v4-16 counts the cores of a slice, of which v5e and v6e
have one a chip, others two; we count chips, as Ray's resource TPU does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

# What Ray gives out of one host.
TPU_COUNTS = (1, 2, 4, 8)
CHIPS_PER_HOST = 4  # of every slice with more than one host


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """A type of TPU. ``name`` begins its pod types, ``most_on_host`` is of chips on one host."""

    name: str
    cores_per_chip: int
    most_on_host: int
    topologies: tuple[str, ...]


def _cubes(max_chips: int) -> Iterator[str]:
    """A x B x C with A <= B <= C, all multiples of 4: what is made of cubes of 4 x 4 x 4."""
    sides = range(4, 25, 4)
    for a, b, c in ((a, b, c) for a in sides for b in sides for c in sides if a <= b <= c):
        if a * b * c <= max_chips:
            yield f"{a}x{b}x{c}"


_BELOW_CUBE = ("2x2x1", "2x2x2", "2x2x4", "2x4x4")
_SQUARES = ("4x4", "8x8", "8x16", "16x16")
_V5E = Generation(
    name="v5litepod", cores_per_chip=1, most_on_host=8,
    topologies=("1x1", "2x2", "2x4", "4x4", "4x8", *_SQUARES[1:]),
)  # fmt: skip

GENERATIONS: dict[str, Generation] = {
    "TPU-V2": Generation(
        name="v2", cores_per_chip=2, most_on_host=4, topologies=("2x2", *_SQUARES)
    ),
    "TPU-V3": Generation(
        name="v3", cores_per_chip=2, most_on_host=4,
        topologies=("2x2", *_SQUARES, "16x32", "32x32"),
    ),
    "TPU-V4": Generation(
        name="v4", cores_per_chip=2, most_on_host=4, topologies=(*_BELOW_CUBE, *_cubes(4096))
    ),
    "TPU-V5P": Generation(
        name="v5p", cores_per_chip=2, most_on_host=4, topologies=(*_BELOW_CUBE, *_cubes(6144))
    ),
    "TPU-V5E": _V5E,
    "TPU-V5LITEPOD": _V5E,
    "TPU-V6E": Generation(
        name="v6e", cores_per_chip=1, most_on_host=8, topologies=_V5E.topologies
    ),
    "TPU-V7X": Generation(
        name="v7x", cores_per_chip=2, most_on_host=4, topologies=(*_BELOW_CUBE, *_cubes(9216))
    ),
}  # fmt: skip


def chips(topology: str) -> int:
    """How many chips ``2x2x4`` has. Raises ValueError for what is no product of whole numbers."""
    return math.prod(int(side) for side in topology.split("x"))


def hosts(generation: Generation, topology: str) -> tuple[int, ...]:
    """How many hosts a slice may have, the fewest first: eight chips of v5e lie on one or two."""
    count = chips(topology)
    whole = (1,) if count <= generation.most_on_host else ()
    return (*whole, count // CHIPS_PER_HOST) if count > CHIPS_PER_HOST else (1,)


def pod_type(generation: Generation, topology: str) -> str:
    """What the cloud calls a slice: v4-16 for 2x2x2 of v4."""
    return f"{generation.name}-{chips(topology) * generation.cores_per_chip}"


def chips_of_pod_type(pod_type: str) -> int | None:
    """How many chips a slice called ``v4-16``, or ``tpu7x-8``, has; None for another form."""
    name, _, cores = pod_type.lower().partition("-")
    name = re.sub("^tpu", "v", name)
    found = next((each for each in GENERATIONS.values() if each.name == name), None)
    return int(cores) // found.cores_per_chip if found and cores.isdecimal() else None


def with_chips(generation: Generation, count: float) -> str | None:
    """The topology of so many chips that is nearest to a square or cube; None if there is none."""
    fits = [each for each in generation.topologies if chips(each) == count]
    return min(fits, key=lambda each: sum(map(int, each.split("x"))), default=None)


@cache
def slice_sizes(kind: str | None) -> tuple[int, ...]:
    """How many chips slices of a type have, or of any: each number once, the smallest first."""
    types = GENERATIONS.values() if kind is None else [GENERATIONS[kind]]
    return tuple(sorted({chips(each) for found in types for each in found.topologies}))
