"""The memory of a process is its own, not that of the one which started it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from runner.data.timing import peak_memory_mb

HELD_MB = 400


def test_a_small_process_of_a_large_one_is_small() -> None:
    before = peak_memory_mb()
    held = np.ones(HELD_MB * 125_000)
    assert held.nbytes == HELD_MB * 1_000_000
    assert peak_memory_mb() > before + 0.9 * HELD_MB or before > HELD_MB
    code = "from runner.data.timing import peak_memory_mb; print(peak_memory_mb())"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    child = float(found.stdout)
    assert 5 < child < 0.75 * HELD_MB
