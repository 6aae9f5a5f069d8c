"""Every ratio that the table shows can be recomputed from the two cells before it."""

from __future__ import annotations

import copy
import math
import re
from typing import Any

from digits_run import finished
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from runner.report.comparison import compare

# Where figures may lie so that a cell shows them in a unit that is read below.
LIMITS = {
    "test/accuracy": (0.0, 1.0),
    "test/loss": (0.002, 20.0),
    "size/parameters": (1e3, 1e11),
    "size/model_mb": (0.001, 1e5),
    "latency/p50_ms": (0.001, 9000.0),
    "latency/p95_ms": (0.001, 9000.0),
    "throughput/samples_per_s": (0.01, 1e8),
}
SCALES = {"k": 1e3, "M": 1e6, "B": 1e9, "GB": 1e3}
CELL = re.compile("([+\u2212]?)([0-9]+(?:[.]([0-9]+))?)[ \u00d7]*([a-zA-Z%]*).*")
# What a table calls the same: a change of less than half a tenth, either way round.
SAME_POINTS, SAME_RATIO = (-0.05, 0.05), (1 / 1.05, 1.05)
Interval = tuple[float, float]


def interval(cell: str) -> Interval:
    """Between which values lies what a cell shows: 1.20 MB stands for 1.195 to 1.205."""
    found = CELL.fullmatch(cell)
    assert found, cell
    sign, number, decimals, unit = found.groups()
    # Three digits count: of a whole number with more, the last are zeros whatever they were.
    half = 0.5 * 10.0 ** (-len(decimals) if decimals else max(0, len(number) - 3))
    scale = SCALES.get(unit, 1.0) * (-1 if sign == "\u2212" else 1)
    low, high = sorted(scale * (float(number) + each) for each in (-half, half))
    return low, high


def difference(before: Interval, after: Interval) -> Interval:
    return after[0] - before[1], after[1] - before[0]


def quotient(top: Interval, bottom: Interval) -> Interval:
    return top[0] / bottom[1], top[1] / bottom[0] if bottom[0] > 0 else math.inf


def claimed(name: str, change: str) -> Interval:
    """Between which values a change lies: a difference, or a quotient of after and before."""
    if change == "±0":
        return 0.0, 0.0
    if name.startswith("test/"):
        return SAME_POINTS if change == "same" else interval(change)
    if change == "same":
        return SAME_RATIO
    low, high = interval(change)
    grew = change.endswith(("more", "larger", "slower"))
    return (low, high) if grew else (1 / high, 1 / low)


measured = some.fixed_dictionaries(
    {name: some.floats(least, most) for name, (least, most) in LIMITS.items()}
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(own=measured, before=measured, after=measured)
def test_every_ratio_is_that_of_the_two_cells_before_it(
    plan_document: dict[str, Any],
    own: dict[str, float],
    before: dict[str, float],
    after: dict[str, float],
) -> None:
    """Whatever the teacher measured of itself, in a process of its own."""
    before = before | {"size/parameters": own["size/parameters"]}
    student = after | {f"baseline/{name}": value for name, value in before.items()}
    report = finished(copy.deepcopy(plan_document), {"teacher": own, "student": student})
    table = compare(report)
    assert [column.heading for column in table.columns] == [
        "teacher", "student", "student vs teacher",
    ]  # fmt: skip
    cells = zip(*(column.cells for column in table.columns), strict=True)
    for name, (first, second, change) in zip(LIMITS, cells, strict=True):
        combine = difference if name.startswith("test/") else quotient
        pair = (interval(first), interval(second))
        least, most = combine(*pair) if combine is difference else combine(*reversed(pair))
        low, high = claimed(name, change)
        slack = 1e-9 * max(1.0, abs(low), abs(least))
        assert low <= most + slack and high >= least - slack, (name, first, second, change)
