"""How long a call takes on a device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

WARM_UP_CALLS = 3
TIMED_CALLS = 10


def call_seconds(call: Callable[[], object], *, device: str) -> list[float]:
    """The times of ten calls, each waited for until the device is done, after three to warm up."""
    for _ in range(WARM_UP_CALLS):
        seconds(call, device=device)
    return [seconds(call, device=device) for _ in range(TIMED_CALLS)]


def median_seconds(call: Callable[[], object], *, device: str) -> float:
    """The median of ``call_seconds``."""
    return statistics.median(call_seconds(call, device=device))


def seconds(call: Callable[[], object], *, device: str) -> float:
    """The time of one call. The device is to have nothing else to do when it begins."""
    started = time.perf_counter()
    call()
    if torch.device(device).type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - started
