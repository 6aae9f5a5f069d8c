"""The roofline of a device: what it can attain by how much it computes on each byte it moves.

After Williams, Waterman and Patterson (2009): below the ridge, where the memory's slope meets the
flat roof of a precision, memory is the limit; beyond it, arithmetic is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from runner.report.figures import GRID, INK, LINES, picture
from runner.report.rates import COPY, PRODUCTS
from runner.report.summary import Report
from runner.report.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CAPTION = (
    "What the device attains at most: up to where a precision's roof meets the slope, memory is "
    "the limit; beyond it, arithmetic is."
)
SIZE_IN = (4.2, 2.8)
# Of the axes, as parts of the picture; the names of precisions stand to their right.
AXES = (0.125, 0.145, 0.76, 0.83)
LABEL_GAP = 0.055  # between precisions that are about as fast, as a part of the axis
PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Roofline:
    """``bytes_per_s`` that memory moves; ``peaks`` are operations a second by precision."""

    bytes_per_s: float
    peaks: Mapping[str, float]

    def attainable(self, precision: str, intensity: float) -> float:
        """Operations a second at so many operations per byte."""
        return min(self.peaks[precision], self.bytes_per_s * intensity)

    def ridge(self, precision: str) -> float:
        """The operations per byte from which on arithmetic is the limit."""
        return self.peaks[precision] / self.bytes_per_s


def roofline(metrics: Mapping[str, float]) -> Roofline | None:
    """What a bench measured; None where it has no memory's rate, or no product's, above zero."""
    moved = metrics.get(COPY, math.nan)
    peaks = {
        precision: metrics[name] * 1e12
        for name, precision in PRODUCTS.items()
        if _positive(metrics.get(name, math.nan))
    }
    return Roofline(bytes_per_s=moved * 1e9, peaks=peaks) if _positive(moved) and peaks else None


def rooflines(report: Report) -> str:
    """A picture for each task that measured a device, as HTML; empty where none did."""
    pictures = ""
    for number, task in enumerate(report.tasks):
        found = roofline(task.metrics) if task.status == "finished" else None
        if found is not None:
            name = escape(one_line(task.name))
            svg = draw(found, name=f"roofline-{number}", title=f"Roofline of {task.name}")
            pictures += f"<figure><figcaption>{name}</figcaption>{svg}</figure>\n"
    if not pictures:
        return ""
    return f'<div class="panels">\n{pictures}</div><p class="caption">{CAPTION}</p>'


def draw(found: Roofline, *, name: str, title: str) -> str:
    """The roofline as an ``<svg>`` element; ``name`` and ``title`` are those of ``picture``."""
    return picture(
        lambda axes: _draw(axes, found), name=name, title=title, size_in=SIZE_IN, place=AXES
    )


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Places for labels of rising ``values``: at least ``gap`` apart, else as near as can be.

    The least squares of the distances: blocks of labels in each other's way are centred on what
    they belong to (pool adjacent violators).
    """
    blocks: list[tuple[float, int]] = []  # the mean of value - index * gap, and of how many
    for index, value in enumerate(values):
        mean, count = value - index * gap, 1
        while blocks and blocks[-1][0] > mean:
            before, more = blocks.pop()
            mean = (mean * count + before * more) / (count + more)
            count += more
        blocks.append((mean, count))
    means = [mean for mean, count in blocks for _ in range(count)]
    return [mean + index * gap for index, mean in enumerate(means)]


def _draw(axes: Axes, found: Roofline) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    by_rate = sorted(found.peaks, key=lambda precision: found.peaks[precision])
    ridges = [found.ridge(precision) for precision in by_rate]
    low, high = ridges[0] / 10, ridges[-1] * 10
    bottom, top = found.bytes_per_s * low, found.peaks[by_rate[-1]] * 2
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(bottom, top)
    for axis, limits in ((axes.xaxis, (low, high)), (axes.yaxis, (bottom, top))):
        axis.set_major_locator(FixedLocator(_decades(*limits)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: amount(value)))
    memory, compute = LINES[1], LINES[0]
    for precision, ridge in zip(by_rate, ridges, strict=True):
        peak = found.peaks[precision]
        axes.plot([ridge, high], [peak, peak], color=compute, linewidth=1.6)
    axes.plot([low, ridges[-1]], [bottom, found.peaks[by_rate[-1]]], color=memory, linewidth=1.6)
    scale = math.log10(top / bottom)
    beside = 0.1 * scale / math.log10(high / low) + 0.03
    words = f"memory, {amount(found.bytes_per_s)}B/s"
    axes.text(beside, 0.1, words, transform=axes.transAxes, va="center", color=INK, fontsize=8.5)
    heights = [math.log10(found.peaks[precision] / bottom) / scale for precision in by_rate]
    for precision, height in zip(by_rate, spread(heights, LABEL_GAP), strict=True):
        axes.text(
            1.015, height, precision, transform=axes.transAxes, va="center", color=INK, fontsize=8.5
        )
    axes.set_xlabel("operations per byte moved", color=INK, fontsize=8.5, labelpad=2)
    axes.set_ylabel("operations per second", color=INK, fontsize=8.5, labelpad=2)
    axes.tick_params(which="both", length=0, labelcolor=INK, labelsize=8.5, pad=4)
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_edgecolor(GRID)


def amount(value: float) -> str:
    """A round number with the prefix of its thousand: 1e11 → '100 G'."""
    for size, prefix in PREFIXES:
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.3g} " if value >= 1 else f"{value:g}"


def _decades(low: float, high: float) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    return [10.0**power for power in range(first, last + 1)]


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0
