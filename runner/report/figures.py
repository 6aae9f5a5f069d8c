"""Curves as inline SVG, drawn by matplotlib: no window system, no pyplot, the same bytes each time.

Text stays text in the font of the page; ink, grid and line colours become CSS variables, so that
one picture serves light and dark. Only numbers and words of ours go through matplotlib (its text
has a mathematics language and warns of missing glyphs); titles are added escaped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import StringIO
from itertools import pairwise
from typing import TYPE_CHECKING

from runner.report.fold import Point
from runner.report.text import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 360
LOG_SPAN = 50  # from this ratio of largest to smallest on, losses are drawn on a logarithmic scale
LEAST_SPAN = 0.01  # of an axis of shares: a smaller change is not drawn as if it were a large one
LEAST_RATIO = 1e-3  # of any other linear axis to its values: enough for ticks that read unlike
MOST_DECIMALS, MOST_WHOLE = 7, 10_000
SIZE_IN, AXES = (4.2, 2.3), (0.12, 0.17, 0.865, 0.79)
# What matplotlib is told to draw in, and what the page draws it in.
COLOURS = {
    "#010101": "var(--ink-soft)",
    "#020202": "var(--rule)",
    "#030303": "var(--line-1)",
    "#040404": "var(--line-2)",
    "#050505": "var(--line-3)",
}
INK, GRID, *LINES = COLOURS
DASHES = ("solid", (0, (5, 2)), (0, (1, 1.5)))
SPLITS = ("train", "test")
SPLIT_LIMIT = 24
SETTINGS = {"svg.fonttype": "none", "svg.id": None, "font.family": ["DejaVu Sans"]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One picture: lines over the optimizer steps. ``percent`` reads values as shares of one."""

    title: str
    lines: Mapping[str, Sequence[Point]]
    percent: bool = False


def warm() -> None:
    """Import matplotlib (half a second), so that a thread can do so while tasks run."""
    import matplotlib.backends.backend_svg
    import matplotlib.figure  # noqa: F401


def panels(series: Mapping[str, Sequence[Point]]) -> list[Panel]:
    """Loss and accuracy, each with a line per split, of the series that have two points or more."""
    found = []
    for quantity, percent in (("loss", False), ("accuracy", True)):
        splits = {
            name.rsplit("/", 1)[0]: points
            for name, points in series.items()
            if name.endswith(f"/{quantity}") and _drawable(points)
        }
        lines = dict(sorted(splits.items(), key=lambda each: (style_of(each[0]), each[0])))
        if lines:
            title = quantity.capitalize()
            found.append(Panel(title=title, lines=dict(list(lines.items())[:3]), percent=percent))
    return found


def curve(panel: Panel, *, name: str, title: str) -> str:
    """``panel`` as an ``<svg>`` element; ``name`` and ``title`` are those of ``picture``."""
    return picture(lambda axes: _draw(axes, panel), name=name, title=title)


def picture(
    draw: Callable[[Axes], None],
    *,
    name: str,
    title: str,
    size_in: tuple[float, float] = SIZE_IN,
    place: tuple[float, float, float, float] = AXES,
) -> str:
    """What ``draw`` puts on axes, as an ``<svg>`` element.

    ``name`` tells its ids from those of other pictures; ``title`` is read aloud and shown on
    hovering, and may hold anything. ``place`` is where the axes lie in it: left, bottom, width and
    height as parts of the picture's.
    """
    from matplotlib import style
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    text = StringIO()
    with style.context(["default", {**SETTINGS, "svg.hashsalt": name}]):
        figure = Figure(figsize=size_in)
        FigureCanvasSVG(figure)
        draw(figure.add_axes(place))
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return _inlined(text.getvalue(), name, title)


def legend(panel: Panel) -> str:
    """The key to a panel's lines as HTML; a legend in the picture would hide some of them."""
    keys = ""
    for split in panel.lines:
        name = escape(one_line(split, SPLIT_LIMIT))
        keys += f'<span class="key line-{style_of(split) + 1}">{name}</span>'
    return f'<span class="keys">{keys}</span>'


def style_of(split: str) -> int:
    """Which colour and dash a split is drawn in: the same in every picture of the report."""
    return SPLITS.index(split) if split in SPLITS else len(SPLITS)


def thinned(points: Sequence[Point], limit: int = POINTS) -> list[Point]:
    """At most ``limit`` points that keep every peak: lowest and highest of each stretch."""
    finite = [point for point in points if math.isfinite(point[1])]
    if len(finite) <= limit:
        return finite
    stretch = math.ceil(len(finite) / (limit // 2))
    kept: list[Point] = []
    for start in range(0, len(finite), stretch):
        part = list(enumerate(finite[start : start + stretch]))
        low = min(part, key=lambda each: each[1][1])
        high = max(part, key=lambda each: each[1][1])
        kept += [point for _, point in sorted({low, high})]
    return kept


def _draw(axes: Axes, panel: Panel) -> None:
    for split, points in panel.lines.items():
        steps, values = zip(*thinned(points), strict=True)
        axes.plot(
            steps,
            values,
            color=LINES[style_of(split)],
            linestyle=DASHES[style_of(split)],
            linewidth=1.6,
            marker="o" if len(points) <= 40 and split != "train" else None,
            markersize=3,
        )
    _dress(axes, panel)


def _dress(axes: Axes, panel: Panel) -> None:
    """Quiet axes: a grid across, no box, few numbers, all in colours of the page."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    values = [value for points in panel.lines.values() for _, value in thinned(points)]
    if not panel.percent and min(values) > 0 and max(values) / min(values) > LOG_SPAN:
        axes.set_yscale("log")
        decades = math.log10(max(values) / min(values))
        axes.yaxis.set_major_locator(LogLocator(subs=(1,) if decades > 2.5 else (1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    axes.set_xlabel("step", color=INK, fontsize=8.5, labelpad=2)
    axes.tick_params(which="both", length=0, labelcolor=INK, labelsize=8.5, pad=4)
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.margins(x=0.02, y=0.06)
    low, high = axes.get_ylim()
    span = LEAST_SPAN if panel.percent else LEAST_RATIO * max(map(abs, values))
    if high - low < span and axes.get_yscale() == "linear":
        axes.set_ylim((low + high - span) / 2, (low + high + span) / 2)
    ticks = [float(value) for value in axes.yaxis.get_majorticklocs()]
    if panel.percent:
        share = _tick_text([value * 100 for value in ticks])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{share(value * 100)} %"))
    else:
        text = _number if axes.get_yscale() == "log" else _tick_text(ticks)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_edgecolor(GRID)


def _inlined(svg: str, name: str, title: str) -> str:
    """The drawing as an element of a page: no prologue, no styles of its own, ids that are its own.

    Its size is left to the page; its colours are the page's variables.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(
        r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", svg, flags=re.S
    )
    used = set(re.findall(r"(?:url\(#|xlink:href=\"#)([^\")]+)", svg))
    svg = re.sub(
        r' id="([^"]*)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", svg
    )
    svg = svg.replace("url(#", f"url(#{name}-").replace('xlink:href="#', f'href="#{name}-')
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    for drawn, shown in COLOURS.items():
        svg = svg.replace(drawn, shown)
    box = re.search(r'viewBox="[^"]*"', svg)
    text = escape(one_line(title), quote=True)
    opening = f'<svg role="img" aria-label="{text}" {box[0] if box else ""}><title>{text}</title>'
    return re.sub(r"\n\s*", "\n", opening + svg[svg.index(">") + 1 :]).strip()


def _drawable(points: Sequence[Point]) -> bool:
    return sum(math.isfinite(value) for _, value in points) >= 2


def _tick_text(ticks: Sequence[float]) -> Callable[[float], str]:
    """How to write ticks so that each reads as what it is: as many decimals as that takes."""
    apart = min((b - a for a, b in pairwise(sorted(set(ticks)))), default=math.inf)

    def is_exact(text: Callable[[float], str]) -> bool:
        return all(abs(float(text(tick)) - tick) <= apart / 100 for tick in ticks)

    largest = max(map(abs, ticks), default=0.0)
    ways = [f"{{:.{decimals}f}}".format for decimals in range(MOST_DECIMALS + 1)]
    return next((way for way in ways if largest < MOST_WHOLE and is_exact(way)), _number)


def _number(value: float) -> str:
    return f"{value / 1000:g}k" if abs(value) >= MOST_WHOLE else f"{value:g}"
