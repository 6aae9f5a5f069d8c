"""What was traded for what: models of one run by accuracy and speed, and which of them win.

A model wins unless another one is as good in everything that counts here and better in something:
the others are on the Pareto front.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING

from runner.report import format as form
from runner.report.comparison import COSINE, origin
from runner.report.figures import GRID, INK, LINES, picture
from runner.report.summary import Report, TaskReport
from runner.report.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRIED, BASELINE = "tried/", "baseline/"
ACCURACY, SIZE = "test/accuracy", "size/model_mb"
LATENCY, THROUGHPUT = "latency/p50_ms", "throughput/samples_per_s"
_HEADINGS = ("on disk", "latency p50", "throughput", "faster", "")
CAPTION = (
    "Every model that was made and measured, beside the one that it was made from. On the line lie "
    "those that no other one beats: as accurate and faster, or as fast and more accurate."
)
SIZE_IN, AXES = (5.6, 2.8), (0.1, 0.15, 0.88, 0.81)
# Numbers of dots that would lie on one another, as parts of the axes.
_NEAR, _STEP = (0.03, 0.07), 0.075


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A model by its figures. ``note`` says what became of it, ``origin`` if it was the first.

    Of one that gives embeddings, ``accuracy`` is their mean cosine to the first one's.
    """

    name: str
    accuracy: float
    size_mb: float
    latency_ms: float
    samples_per_s: float
    note: str = ""
    is_cosine: bool = False

    @property
    def quality(self) -> str:
        """Its accuracy, or cosine, as tables have it."""
        return form.cosine(self.accuracy) if self.is_cosine else form.percent(self.accuracy)

    def beats(self, other: Point) -> bool:
        """Whether it is as accurate and as fast, and more so in one of them."""
        ours = (self.accuracy, -self.latency_ms)
        theirs = (other.accuracy, -other.latency_ms)
        return ours != theirs and all(a >= b for a, b in zip(ours, theirs, strict=True))


def point(
    name: str, metrics: Mapping[str, float], prefix: str = "", note: str = ""
) -> Point | None:
    """A model out of metrics whose names begin so; None unless all its figures are there."""
    is_cosine = prefix + ACCURACY not in metrics
    first = 1.0 if prefix == BASELINE else math.nan
    quality = metrics.get(prefix + COSINE, first) if is_cosine else metrics[prefix + ACCURACY]
    others = [metrics.get(prefix + each, math.nan) for each in (SIZE, LATENCY, THROUGHPUT)]
    found = [quality, *others]
    if not all(math.isfinite(value) for value in found):
        return None
    accuracy, size, latency, throughput = found
    if min(size, latency, throughput) <= 0.0:
        return None
    return Point(
        name=name,
        accuracy=accuracy,
        size_mb=size,
        latency_ms=latency,
        samples_per_s=throughput,
        note=note,
        is_cosine=is_cosine,
    )


def points(report: Report, task: TaskReport) -> list[Point]:
    """What a task tried, the fastest first, after what it started from; empty if there was one."""
    names = {name.split("/")[1] for name in task.metrics if name.startswith(TRIED)}
    tried = [point(name, task.metrics, f"{TRIED}{name}/") for name in names]
    found = sorted((each for each in tried if each), key=lambda each: (each.latency_ms, each.name))
    if len(found) < 2:
        return []
    kept = point(task.name, task.metrics, note="kept")
    rows = [_marked(each, kept) for each in found]
    if kept is not None and not any(each.note for each in rows):
        rows.append(kept)
    first = origin(report, task) or f"{task.name}'s original"
    before = point(first, task.metrics, BASELINE, note="original")
    return [*([before] if before else []), *rows]


def _marked(tried: Point, kept: Point | None) -> Point:
    is_kept = kept is not None and (kept.size_mb, kept.latency_ms) == (
        tried.size_mb,
        tried.latency_ms,
    )
    return replace(tried, note="kept") if is_kept else tried


def front(found: Iterable[Point]) -> list[Point]:
    """Those that no other one beats, the fastest first."""
    every = list(found)
    best = [each for each in every if not any(other.beats(each) for other in every)]
    return sorted(best, key=lambda each: (each.latency_ms, -each.accuracy))


def headings(found: Sequence[Point]) -> tuple[str, ...]:
    """Those of the table that ``rows`` makes."""
    return ("", "cosine" if found[0].is_cosine else "accuracy", *_HEADINGS)


def rows(found: Sequence[Point]) -> list[tuple[str, ...]]:
    """The cells of a table with ``headings``, a row for each, numbered as in the picture."""
    first = found[0]
    return [
        (
            f"{number} {one_line(each.name)}",
            each.quality,
            form.megabytes(each.size_mb),
            form.milliseconds(each.latency_ms),
            form.rate(each.samples_per_s),
            form.factor(first.latency_ms / each.latency_ms),
            each.note,
        )
        for number, each in enumerate(found, start=1)
    ]


def draw(found: Sequence[Point], *, name: str, title: str) -> str:
    """Accuracy over latency as an ``<svg>`` element, with the front as a line."""
    return picture(
        lambda axes: _draw(axes, found), name=name, title=title, size_in=SIZE_IN, place=AXES
    )


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
            f"<h3>{escape(one_line(task.name))}</h3>\n<figure>"
            f"{draw(found, name=f'pareto-{number}', title=title)}</figure>\n"
            f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>'
            f"</table></div>"
        )
    return "\n".join([*parts, f'<p class="caption">{CAPTION}</p>']) if parts else ""


def _draw(axes: Axes, found: Sequence[Point]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    best = front(found)
    unit, whole, least = ("", 1.0, 0.0005) if found[0].is_cosine else (" %", 100.0, 0.5)
    axes.set_xscale("log")
    axes.plot(
        [each.latency_ms for each in best],
        [each.accuracy * whole for each in best],
        color=LINES[0],
        linewidth=1.6,
        drawstyle="steps-post",
    )
    for each in found:
        colour = LINES[1] if each.note == "original" else LINES[0]
        filled = colour if each in best or each.note else "none"
        axes.plot(
            [each.latency_ms],
            [each.accuracy * whole],
            marker="o",
            markersize=5,
            color=colour,
            markerfacecolor=filled,
        )
    times = [each.latency_ms for each in found]
    scores = [each.accuracy * whole for each in found]
    room = max(least, (max(scores) - min(scores)) * 0.25)
    axes.set_xlim(min(times) / 1.3, max(times) * 1.3)
    axes.set_ylim(min(scores) - room, max(scores) + room)
    for number, (x, y) in enumerate(_labels(axes, times, scores), start=1):
        axes.text(x, y, str(number), transform=axes.transAxes, ha="center", color=INK, fontsize=8.5)
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


def _labels(
    axes: Axes, times: Sequence[float], scores: Sequence[float]
) -> list[tuple[float, float]]:
    """Where the numbers stand, as parts of the axes: over their dots, and not on one another."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    placed: list[tuple[float, float]] = []
    for time, score in zip(times, scores, strict=True):
        x = math.log(time / left) / math.log(right / left)
        y = (score - bottom) / (top - bottom) + 0.035
        while any(abs(x - a) < _NEAR[0] and abs(y - b) < _NEAR[1] for a, b in placed):
            y += _STEP
        placed.append((x, y))
    return placed
