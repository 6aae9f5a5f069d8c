"""How fast a platform could run a model at best, and what that would take: a roofline estimate.

After Williams, Waterman and Patterson (2009): an inference can't be faster than its operations at
the peak rate, nor than its bytes at the rate of the memory that they come from. What a device
really does lies above this, often by several times; it is an estimate, and is marked as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from runner.edge.platforms import BYTES, Figure, Platform, Precision


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """What one inference at batch 1 takes, as counted by ``torchlib.costs``.

    ``operations`` count a multiplication and an addition as two; ``parameters`` are weights;
    ``peak_values`` the most numbers between layers at once; ``moved_values`` those that products,
    convolutions and attention read and write; ``end_values`` those of input and output;
    ``operators`` are ATen's, each with how often it runs.
    """

    operations: float
    parameters: int
    peak_values: int
    moved_values: int
    end_values: int
    operators: Mapping[str, int] = field(default_factory=dict)

    def weight_bytes(self, precision: str) -> float:
        """What its weights take."""
        return self.parameters * BYTES[precision]

    def memory_bytes(self, precision: str) -> float:
        """What it takes in memory: weights, and the most that lies between layers at once."""
        return self.weight_bytes(precision) + self.peak_values * activation_bytes(precision)


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """At best: no figure here was measured.

    ``bound`` is what keeps it from being faster; ``energy_mj`` is the platform's power for that
    long, None where that is not known. ``unverified`` names the figures it rests on that nobody
    vouches for, and ``missing`` those that are not known and were left out of it.
    """

    precision: Precision
    latency_ms: float
    bound: Literal["compute", "memory"]
    compute_ms: float
    memory_ms: float | None
    energy_mj: float | None
    memory_mb: float
    unverified: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def per_s(self) -> float:
        """Inferences a second, one after the other."""
        return 1e3 / self.latency_ms


def activation_bytes(precision: str) -> float:
    """The bytes of a number between layers; those of int4 weights are int8."""
    return max(1.0, BYTES[precision])


def moved_bytes(platform: Platform, work: Workload, precision: str) -> float:
    """What has to come from memory, or go there, for one inference.

    Each weight once, and what products and convolutions read and write. With memory beside the
    arithmetic, input and output, and of the weights only what does not fit into it.
    """
    each = activation_bytes(precision)
    weights, ends = work.weight_bytes(precision), work.end_values * each
    if platform.on_chip_mb is not None:
        room = platform.on_chip_mb.value * 1e6 - work.peak_values * each
        if room >= 0:
            return max(0.0, weights - room) + ends
    return weights + max(work.moved_values * each, ends)


def estimate(platform: Platform, work: Workload, precision: Precision) -> Estimate:
    """How fast ``platform`` could run it in ``precision``, which it must have a rate for."""
    rate = platform.tops[precision]
    compute_ms = work.operations / (rate.dense * 1e12) * 1e3
    used: dict[str, Figure] = {f"tops.{precision}": rate}
    missing = []
    memory_ms = None
    if platform.memory_gb_per_s is None:
        missing.append("memory_gb_per_s")
    else:
        used["memory_gb_per_s"] = platform.memory_gb_per_s
        bytes_per_ms = platform.memory_gb_per_s.value * 1e6
        memory_ms = moved_bytes(platform, work, precision) / bytes_per_ms
        if platform.on_chip_mb is not None:
            used["on_chip_mb"] = platform.on_chip_mb
    latency_ms = max(compute_ms, memory_ms or 0.0)
    energy_mj = None
    if platform.watts is None:
        missing.append("watts")
    else:
        used["watts"] = platform.watts
        energy_mj = latency_ms * platform.watts.value
    return Estimate(
        precision=precision,
        latency_ms=latency_ms,
        bound="compute" if memory_ms is None or compute_ms >= memory_ms else "memory",
        compute_ms=compute_ms,
        memory_ms=memory_ms,
        energy_mj=energy_mj,
        memory_mb=work.memory_bytes(precision) / 1e6,
        unverified=tuple(name for name, figure in used.items() if not figure.is_verified),
        missing=tuple(missing),
    )
