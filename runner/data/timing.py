"""How fast a model answers: the same calls, counted in the same way, for every runtime."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

THROUGHPUT_BATCH = 64
LATENCY_CALLS = 200
THROUGHPUT_CALLS = 30
_WARM_UP_CALLS = 10
# Calls are counted before they are timed; only a model too slow for the full count gets fewer.
_BUDGET_S = 3.0
_MIN_CALLS = 10
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """Milliseconds a call at batch 1 (median and 95th percentile); samples a second in batches.

    Millijoules a sample in batches, too, where the machine tells of energy.
    """

    latency_p50_ms: float
    latency_p95_ms: float
    samples_per_s: float
    mj_per_sample: float | None = None

    @classmethod
    def of(
        cls,
        alone: Sequence[float],
        together: Sequence[float],
        *,
        batch_size: int,
        joules: float | None = None,
    ) -> Speed:
        """Of the seconds of calls at batch 1, and of calls at ``batch_size``: two at the least.

        ``joules`` are those of a call at ``batch_size``.
        """
        cuts = statistics.quantiles(alone, n=20, method="inclusive")
        return cls(
            latency_p50_ms=1e3 * statistics.median(alone),
            latency_p95_ms=1e3 * cuts[-1],
            samples_per_s=batch_size / statistics.median(together),
            mj_per_sample=None if joules is None else 1e3 * joules / batch_size,
        )

    def metrics(self) -> dict[str, float]:
        """By the names that reports have them."""
        known = self.mj_per_sample
        return {
            **({} if known is None else {"energy/mj_per_sample": known}),
            "latency/p50_ms": self.latency_p50_ms,
            "latency/p95_ms": self.latency_p95_ms,
            "throughput/samples_per_s": self.samples_per_s,
        }


def timed(call: Callable[[], object], calls: int) -> list[float]:
    """Seconds of each of so many calls, after ten to warm up.

    A model so slow that this would take more than three seconds gets fewer, ten at the least.
    """
    warm_up = [seconds(call) for _ in range(2)]
    # Two slow calls are enough of a warm-up for a model that takes seconds.
    if warm_up[-1] * calls <= _BUDGET_S:
        warm_up += [seconds(call) for _ in range(_WARM_UP_CALLS - 2)]
    affordable = int(_BUDGET_S / max(1e-9, min(warm_up)))
    return [seconds(call) for _ in range(min(calls, max(_MIN_CALLS, affordable)))]


def seconds(call: Callable[[], object]) -> float:
    """How long one call took."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def peak_memory_mb() -> float:
    """The most memory that this process held so far, in 1e6 bytes."""
    # What getrusage says of a process begins with what the one had that started it.
    if _STATUS.exists():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
