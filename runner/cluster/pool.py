"""Idle workers that have their framework imported, ready for the next task."""

from __future__ import annotations

import time

# Longer than a process takes to start: held for less, one worker would serve them all in turn.
HOLD_S = 2.0


def refill(count: int) -> None:
    """Have ``count`` idle workers at hand soon, without waiting for them.

    An attempt uses its process up. Ray starts another when a task finds none idle, and keeps it
    afterwards, so what brings them about is a task that does nothing, ``count`` times at once.
    Where Ray was told to preload modules, a worker has them before it is handed out.
    """
    import ray

    hold = ray.remote(_hold).options(num_cpus=0)
    for _ in range(count):
        hold.remote()


def _hold() -> None:
    time.sleep(HOLD_S)
