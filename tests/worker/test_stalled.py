"""Stacks of an attempt that does not come on: in a process of its own, as they go to its stderr."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import time
from runner.worker import stalled
stalled.LIMIT_S, stalled._AGAIN_S = LIMIT, 0.0

def waits_for_nothing():
    WORK

watch = stalled.Stalled(TIMEOUT)
waits_for_nothing()
watch.over()
"""
PROGRESS = "for _ in range(12): time.sleep(0.1); watch.progressed()"


@pytest.mark.parametrize(
    ("limit", "timeout", "work", "is_told"),
    [
        ("0.3", None, "time.sleep(1.2)", True),
        ("0.3", None, PROGRESS.replace("0.1", "0.05"), False),
        ("60.0", "0.5", "time.sleep(1.2)", True),
        ("60.0", "0.5", PROGRESS, True),
        ("60.0", "50.0", PROGRESS, False),
    ],
    ids=["stalled", "comes on", "over time", "too slow", "in time"],
)
def test_stacks_are_told(limit: str, timeout: str | None, work: str, is_told: bool) -> None:
    script = SCRIPT.replace("LIMIT,", f"{limit},").replace("WORK", work)
    script = script.replace("TIMEOUT", str(timeout))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ("in waits_for_nothing" in done.stderr) is is_told
