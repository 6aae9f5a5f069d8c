"""The picture of a trade-off: models by accuracy and speed, those that win joined by a line.

A few that lie far below or far to the slow side of all others would press these onto one another.
They stand at the edge, with an arrow and their figure, and the axes are of the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from runner.report import format as form
from runner.report.figures import GRID, INK, LINES, picture
from runner.report.pareto import Point, front, headings, points, rows
from runner.report.summary import Report
from runner.report.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CAPTION = (
    "Every model that was made and measured, beside the one that it was made from. On the line lie "
    "those that no other one beats: as accurate and faster, or as fast and more accurate."
)
BEYOND = "At an edge, with an arrow and its figure: a model too far off to be drawn to scale."
SIZE_IN, AXES = (5.6, 2.8), (0.1, 0.15, 0.88, 0.81)
# Far off is what would take more than half of an axis, and lies further from the others than this.
_FAR_POINTS, _FAR_FACTOR = 0.05, 5.0
# Where what is far off stands, and numbers that would lie on one another, as parts of the axes.
_EDGE, _LETTER, _WORDS, _LINE, _STEP = 0.025, 0.016, 11, 0.07, 0.075


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """What the axes hold: no accuracy below ``lowest`` and no latency above ``slowest_ms``."""

    lowest: float
    slowest_ms: float

    def holds(self, point: Point) -> bool:
        """Whether it lies inside."""
        return point.accuracy >= self.lowest and point.latency_ms <= self.slowest_ms


def bounds(found: Sequence[Point]) -> Bounds:
    """Those within which the models stay apart: all of them, but for a few that lie far off.

    Never left out are the first, which all others are held against, and what was kept; nor what is
    better than the others, however far.
    """
    staying = [bool(each.note) for each in found]
    low = _within([each.accuracy for each in found], staying, _FAR_POINTS)
    fast = _within([-math.log(each.latency_ms) for each in found], staying, math.log(_FAR_FACTOR))
    return Bounds(
        lowest=min(each.accuracy for each, inside in zip(found, low, strict=True) if inside),
        slowest_ms=max(each.latency_ms for each, inside in zip(found, fast, strict=True) if inside),
    )


def _within(values: Sequence[float], staying: Sequence[bool], far: float) -> list[bool]:
    """Which of ``values`` are not far below the others; fewer than half of them can be."""
    order = sorted(range(len(values)), key=lambda each: values[each])
    left_out = 0
    for count in range(1, (len(values) - 1) // 2 + 1):
        below, lowest, highest = (values[order[at]] for at in (count - 1, count, -1))
        if staying[order[count - 1]]:
            break
        if lowest - below > max(far, highest - lowest):
            left_out = count
    return [at not in order[:left_out] for at in range(len(values))]


def figure(found: Sequence[Point], *, name: str, title: str) -> str:
    """Accuracy over latency as HTML, with the front as a line; see ``figures.picture``."""
    limits = bounds(found)
    drawn = picture(
        lambda axes: _draw(axes, found, limits), name=name, title=title, size_in=SIZE_IN, place=AXES
    )
    is_cut = not all(limits.holds(each) for each in found)
    told = f'\n<p class="caption">{BEYOND}</p>' if is_cut else ""
    return f"<figure>{drawn}</figure>{told}"


def trade_offs(report: Report) -> str:
    """Picture and table of every task that had a choice, as HTML; empty where none had."""
    parts = []
    for number, task in enumerate(report.tasks):
        found = points(report, task)
        if not found:
            continue
        quality = headings(found)[1]
        title = f"{quality.capitalize()} and latency of what {task.name} tried"
        head = "".join(f'<th scope="col">{escape(each)}</th>' for each in headings(found))
        body = "".join(
            f'<tr><th scope="row">{escape(cells[0])}</th>'
            + "".join(f"<td>{escape(cell)}</td>" for cell in cells[1:])
            + "</tr>\n"
            for cells in rows(found)
        )
        parts.append(
            f"<h3>{escape(one_line(task.name))}</h3>\n"
            f"{figure(found, name=f'pareto-{number}', title=title)}\n"
            f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>'
            f"</table></div>"
        )
    return "\n".join([*parts, f'<p class="caption">{CAPTION}</p>']) if parts else ""


def _draw(axes: Axes, found: Sequence[Point], limits: Bounds) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    best = front(found)
    unit, whole, least = ("", 1.0, 0.0005) if found[0].is_cosine else (" %", 100.0, 0.5)
    axes.set_xscale("log")
    times = [each.latency_ms for each in found if each.latency_ms <= limits.slowest_ms]
    scores = [each.accuracy * whole for each in found if each.accuracy >= limits.lowest]
    room = max(least, (max(scores) - min(scores)) * 0.25)
    low = [each.latency_ms for each in found if each.accuracy < limits.lowest]
    left, right = math.log(min(times) / 1.3), math.log(max(times) * 1.3)
    if len(times) < len(found):
        right = max(right, _room(left, math.log(max(times))))
    left = min([left, *(_room(right, math.log(time)) for time in low)])
    axes.set_xlim(math.exp(left), math.exp(right))
    axes.set_ylim(min(scores) - room, max(scores) + room)
    axes.plot(
        [each.latency_ms for each in best],
        [each.accuracy * whole for each in best],
        color=LINES[0],
        linewidth=1.6,
        drawstyle="steps-post",
    )
    places = [_place(axes, each, limits, whole) for each in found]
    for each, (x, y) in zip(found, places, strict=True):
        colour = LINES[1] if each.note == "original" else LINES[0]
        axes.plot(
            [x],
            [y],
            transform=axes.transAxes,
            marker=_marker(each, limits),
            markersize=5,
            color=colour,
            markerfacecolor=colour if each in best or each.note else "none",
        )
    texts = [_text(number, each, limits) for number, each in enumerate(found, start=1)]
    # The line to what is far below goes on at its right.
    ends = [each.accuracy < limits.lowest for each in found]
    for text, (x, y) in zip(texts, _labels(places, texts, ends), strict=True):
        axes.text(x, y, text, transform=axes.transAxes, ha="center", color=INK, fontsize=8.5)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}{unit}"))
    axes.set_xlabel("milliseconds for one sample", color=INK, fontsize=8.5, labelpad=2)
    axes.tick_params(which="both", length=0, labelcolor=INK, labelsize=8.5, pad=4)
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_edgecolor(GRID)


def _room(end: float, time: float) -> float:
    """Where the axis must go on to, so that there is room for words between it and ``time``.

    ``end`` is the axis' other end; all are logarithms of milliseconds.
    """
    part = _LETTER * _WORDS
    return (time - part * end) / (1.0 - part)


def _place(axes: Axes, point: Point, limits: Bounds, whole: float) -> tuple[float, float]:
    """Where its dot stands, as parts of the axes: at an edge if it lies beyond."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    x = math.log(point.latency_ms / left) / math.log(right / left)
    y = (point.accuracy * whole - bottom) / (top - bottom)
    return (
        x if point.latency_ms <= limits.slowest_ms else 1.0 - _EDGE / 2,
        y if point.accuracy >= limits.lowest else _EDGE,
    )


def _marker(point: Point, limits: Bounds) -> str:
    if limits.holds(point):
        return "o"
    return "v" if point.accuracy < limits.lowest else ">"


def _text(number: int, point: Point, limits: Bounds) -> str:
    """The number of its row and, of what lies beyond an edge, the figure that does."""
    said = [point.quality] if point.accuracy < limits.lowest else []
    said += [form.milliseconds(point.latency_ms)] if point.latency_ms > limits.slowest_ms else []
    return f"{number}: {', '.join(said)}" if said else str(number)


def _labels(
    dots: Sequence[tuple[float, float]], texts: Sequence[str], ends: Sequence[bool]
) -> list[tuple[float, float]]:
    """Where the middles of the texts stand: over their dots, inside, and not on one another.

    Those with ``ends`` end over their dots.
    """
    placed: list[tuple[float, float]] = []
    widths = [_LETTER * (len(text) + 1) for text in texts]
    for (x, y), width, is_end in zip(dots, widths, ends, strict=True):
        x, y = min(x - width / 2 if is_end else x, 1.0 - width / 2), y + 0.035
        while any(
            abs(x - a) < (width + other) / 2 and abs(y - b) < _LINE
            for (a, b), other in zip(placed, widths, strict=False)
        ):
            y += _STEP
        placed.append((x, y))
    return placed
