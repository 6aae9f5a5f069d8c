"""What the comparisons share: a task carried out in this process, and calls timed in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.kinds import find
from runner.model import Context, Fact, Metric

DATA = {"name": "mnist5k"}
BATCHES, ROUNDS, CALLS = (1, 64), 12, {1: 20, 64: 1}


@dataclass(frozen=True)
class Made:
    folder: Path
    metrics: Mapping[str, float]
    facts: Mapping[str, str]


def carry_out(kind: str, folder: Path, *, makes: str = "model", **params: Any) -> Made:
    """A task of that kind; what it made, and what it says of it."""
    found = find(kind)
    context = Context(params=found.params.model_validate(params), folder=folder)
    metrics, facts = {}, {}
    for item in found.run(context):
        if isinstance(item, Metric) and item.step is None:
            metrics[item.name] = item.value
        elif isinstance(item, Fact):
            facts[item.name] = item.text
    return Made(folder / makes, metrics, facts)


def in_turns(calls: Mapping[str, Callable[[], object]], rows: int) -> dict[str, float]:
    """CPU seconds of each call, medians over rounds."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(ROUNDS + 1):
        for name, call in calls.items():
            call()  # puts the caches back that the one before it used
            started = time.process_time()
            for _ in range(CALLS[rows]):
                call()
            if turn:  # the first warms up
                taken[name].append((time.process_time() - started) / CALLS[rows])
    return {name: statistics.median(times) for name, times in taken.items()}


def told(claims: Mapping[str, bool]) -> int:
    """Prints what was claimed and whether it holds; an exit code."""
    print()
    for claim, holds in claims.items():
        print(f"{'holds' if holds else 'MISSED'}: {claim}", flush=True)
    return 0 if all(claims.values()) else 1
