"""What a call takes of a CPU's energy, where the machine lets it be read (RAPL, by Linux powercap).

Linux counts for each processor package (Documentation/power/powercap of the kernel), on Intel's and
AMD's. Virtual machines have no counters, and most systems let only root read them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

ROOT = Path("/sys/class/powercap")
# Long enough for counters that are brought up to date every millisecond.
_SECONDS = 1.0
_COUNTER, _MOST = "energy_uj", "max_energy_range_uj"


def joules_a_call(call: Callable[[], object], seconds: float) -> float | None:
    """Joules that the processor takes for one of many calls of so many seconds each.

    All that the package takes meanwhile counts, idle cores too. None where there is no counter, or
    none that may be read.
    """
    packages = _packages()
    before = [_counted(each) for each in packages]
    if not packages or None in before:
        return None
    calls = max(1, math.ceil(_SECONDS / max(seconds, 1e-9)))
    for _ in range(calls):
        call()
    total = 0.0
    for package, start in zip(packages, before, strict=True):
        end = _counted(package)
        if start is None or end is None:
            return None
        # A counter begins anew once it is full.
        total += end - start if end >= start else end - start + _read(package / _MOST)
    return total / 1e6 / calls


def _packages() -> list[Path]:
    zones = sorted(ROOT.glob("intel-rapl:*")) if ROOT.is_dir() else []
    return [zone for zone in zones if _name(zone).startswith("package")]


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text().strip()
    except OSError:
        return ""


def _counted(package: Path) -> float | None:
    try:
        return _read(package / _COUNTER)
    except OSError:  # it is there and may not be read
        return None


def _read(file: Path) -> float:
    return float(file.read_text())
