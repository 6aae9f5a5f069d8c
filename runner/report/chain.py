"""From the first model of a run to the files that were made of it, step by step, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from runner.report import format as form
from runner.report import pareto, trade_off
from runner.report.comparison import BASELINE, COSINE, is_measured, origin
from runner.report.forms import OWN, forms
from runner.report.summary import Report, TaskReport
from runner.report.text import one_line

HEADINGS = (
    "", "accuracy", "parameters", "on disk", "smaller", "latency p50", "faster", "throughput",
)  # fmt: skip
CAPTION = (
    "Each model as its own task measured it. How much faster than the first: the product of the "
    "steps' ratios, of which each was measured side by side."
)
_ACCURACY, _PARAMETERS, _SIZE = "test/accuracy", "size/parameters", "size/model_mb"
_LATENCY, _THROUGHPUT = "latency/p50_ms", "throughput/samples_per_s"
_SPEEDUP, _ENERGY = "compression/speedup", "energy/mj_per_sample"
_FIGURES = frozenset(
    {_ACCURACY, _PARAMETERS, _SIZE, _LATENCY, _THROUGHPUT, _SPEEDUP, _ENERGY, COSINE}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """A model, or a file, by its figures; how many times faster than the first, where known."""

    name: str
    task: str
    figures: Mapping[str, float]
    faster: float | None


def links(report: Report) -> list[Link]:
    """The first model and all that came of it, in the plan's order; empty if it was one step.

    Of several that tasks started with, it is the one that most came of.
    """
    tasks = {task.name: task for task in report.tasks if is_measured(task)}
    parents = {name: parent for name, task in tasks.items() if (parent := _parent(report, task))}
    if not set(parents) & set(parents.values()):
        return []
    counts = {name: sum(_first(each, parents) == name for each in parents) for name in tasks}
    first = max(tasks, key=lambda name: counts[name])
    faster: dict[str, float | None] = {first: 1.0}
    found = [Link(name=first, task=first, figures=tasks[first].metrics, faster=1.0)]
    for name, task in tasks.items():
        if name not in parents or _first(name, parents) != first:
            continue
        before = faster.get(parents[name])
        faster[name] = _times(before, task.metrics)
        if _SIZE in task.metrics:
            found.append(Link(name=name, task=name, figures=task.metrics, faster=faster[name]))
        for of, figures in forms(task.metrics, _FIGURES).items():
            if of != OWN and _SIZE in figures:
                times = _times(before, figures)
                found.append(Link(name=f"{name} {of}", task=name, figures=figures, faster=times))
    return found


def title(found: list[Link]) -> str:
    """What the table is called."""
    return f"What became of {one_line(found[0].name)}"


def ratios(first: Link, other: Link) -> dict[str, float]:
    """What became of the first model, by the names that a task's own comparison has."""
    values = {_SPEEDUP: other.faster, "compression/size_ratio": _smaller(first, other)}
    before, after = first.figures.get(_ACCURACY), other.figures.get(_ACCURACY)
    if before is not None and after is not None:
        values["compression/accuracy_drop"] = before - after
    return {name: value for name, value in values.items() if value is not None}


def _smaller(first: Link, other: Link) -> float | None:
    whole, size = first.figures.get(_SIZE), other.figures.get(_SIZE)
    return whole / size if whole and size else None


def headings(found: list[Link]) -> tuple[str, ...]:
    """Those of the table that ``rows`` makes: energy where it was read."""
    return (*HEADINGS, "energy") if _has_energy(found) else HEADINGS


def _has_energy(found: list[Link]) -> bool:
    return any(_ENERGY in each.figures for each in found)


def rows(found: list[Link]) -> list[tuple[str, ...]]:
    """The cells of a table with ``headings``."""
    cells: list[tuple[str, ...]] = []
    for each in found:
        figures, smaller = each.figures, _smaller(found[0], each)
        quality = figures.get(_ACCURACY)
        cells.append(
            (
                one_line(each.name),
                form.percent(quality) if quality is not None else form.cosine(figures.get(COSINE)),
                form.count(figures.get(_PARAMETERS)),
                form.megabytes(figures.get(_SIZE)),
                form.factor(smaller) if smaller else form.NONE,
                form.milliseconds(figures.get(_LATENCY)),
                form.factor(each.faster) if each.faster else form.NONE,
                form.rate(figures.get(_THROUGHPUT)),
                *([form.millijoules(figures.get(_ENERGY))] if _has_energy(found) else []),
            )
        )
    return cells


def picture(found: list[Link]) -> str:
    """Accuracy over latency as HTML; empty unless all have both."""
    marks = ["original", *[""] * (len(found) - 1)]
    drawn = [
        pareto.point(each.name, each.figures, note=mark)
        for each, mark in zip(found, marks, strict=True)
    ]
    points = [point for point in drawn if point is not None]
    if len(points) < len(found):
        return ""
    title = f"Accuracy and latency from {found[0].name} on"
    return trade_off.figure(points, name="chain", title=title)


def to_html(found: list[Link]) -> str:
    """Table and picture, as HTML; the picture's numbers are those of the rows."""
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in headings(found))
    body = "".join(
        f'<tr><th scope="row">{number} {escape(cells[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells[1:])
        + "</tr>\n"
        for number, cells in enumerate(rows(found), start=1)
    )
    drawn = picture(found)
    figure = f"{drawn}\n" if drawn else ""
    return (
        f'<div class="scroll"><table class="chain"><thead><tr>{head}</tr></thead>\n'
        f'<tbody>\n{body}</tbody></table></div>\n<p class="caption">{CAPTION}</p>\n{figure}'
    )


def _parent(report: Report, task: TaskReport) -> str | None:
    """The task whose model this one started from, where both were measured."""
    is_made = any(name.startswith(BASELINE) for name in task.metrics)
    return origin(report, task) if is_made else None


def _first(name: str, parents: Mapping[str, str]) -> str:
    while name in parents:
        name = parents[name]
    return name


def _times(before: float | None, figures: Mapping[str, float]) -> float | None:
    speedup = figures.get(_SPEEDUP)
    return None if before is None or speedup is None else before * speedup
