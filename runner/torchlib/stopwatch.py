"""The time that a loop spends in its steps, and when it is time to report."""

from __future__ import annotations

import time

import torch

_PROGRESS_INTERVAL_S = 0.5


class Stopwatch:
    """Adds up the seconds between ``start`` and ``pause``, and says when Progress is due.

    On an accelerator both wait for the work queued so far, so that the time belongs to the steps
    that caused it.
    """

    def __init__(self, device: str) -> None:
        self.seconds = 0.0
        self._is_accelerator = torch.device(device).type != "cpu"
        self._started_at = 0.0
        self._next_progress_at = time.perf_counter() + _PROGRESS_INTERVAL_S

    def start(self) -> None:
        """Goes on counting."""
        self._started_at = time.perf_counter()

    def pause(self) -> None:
        """Stops counting until ``start``."""
        if self._is_accelerator:
            torch.accelerator.synchronize()
        self.seconds += time.perf_counter() - self._started_at

    def is_progress_due(self) -> bool:
        """Whether half a second has passed since this was last true."""
        now = time.perf_counter()
        if now < self._next_progress_at:
            return False
        self._next_progress_at = now + _PROGRESS_INTERVAL_S
        return True
