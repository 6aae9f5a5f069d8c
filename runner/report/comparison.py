"""The comparison table as data: what each task's model measured, and how it compares to what
it was made from. Terminal, Markdown and HTML lay out the same cells.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from runner.report import format as form
from runner.report import rates
from runner.report.forms import OWN, forms
from runner.report.language import ACCURACY, accuracy_name
from runner.report.summary import Report, TaskReport

BASELINE = "baseline/"
CAPTION = "Models compared were measured side by side; changes are before rounding."


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A row: the metric, its label, how a value reads, and how a value reads against its baseline.

    ``compared`` takes (before, after).
    """

    metric: str
    label: str
    shown: Callable[[float | None], str]
    compared: Callable[[float, float], str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A heading and its cells, one a row. ``role`` tells what the figures are.

    ``model`` is what a task measured of the model it made, ``baseline`` what it measured, beside
    that, of the one it started from, and ``change`` the one against the other: it follows the two
    columns that it was computed from. ``note`` tells columns of the same heading apart.
    """

    heading: str
    role: Literal["model", "baseline", "change"]
    task: str
    cells: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """``labels`` name the rows; every column has as many cells."""

    labels: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def title(self) -> str:
        """What the table is: one column compares nothing."""
        return "Comparison" if len(self.columns) > 1 else "Measurements"

    @property
    def caption(self) -> str:
        """What a reader must know of the ratios, if there are any."""
        return CAPTION if any(column.role == "change" for column in self.columns) else ""

    @property
    def groups(self) -> list[list[Column]]:
        """The columns in order, those together that make up a ratio."""
        found: list[list[Column]] = []
        for column in self.columns:
            last = found[-1] if found else []
            is_of_it = last and last[0].role == "baseline" and last[-1].role != "change"
            if column.role == "change" or is_of_it:
                last.append(column)
            else:
                found.append([column])
        return found


def _smaller(before: float, after: float) -> str:
    return form.change(before / after if after else None, "smaller", "larger")


def _fewer(before: float, after: float) -> str:
    return form.change(before / after if after else None, "fewer", "more")


def _faster(before: float, after: float) -> str:
    return form.change(before / after if after else None, "faster", "slower")


def _less(before: float, after: float) -> str:
    return form.change(before / after if after else None, "less", "more")


def _more(before: float, after: float) -> str:
    return form.change(after / before if before else None, "more", "less")


SAMPLES, COSINE = "data/test_samples", "compression/cosine"

MEASURES = (
    # Only where it differs: scores on other data don't compare.
    Measure(
        metric=SAMPLES,
        label="held-out samples",
        shown=form.plain,
        compared=lambda before, after: "",
    ),
    Measure(
        metric="test/accuracy",
        label=ACCURACY,
        shown=form.percent,
        compared=lambda before, after: form.points(after - before),
    ),
    Measure(
        metric="test/loss",
        label="test loss",
        shown=form.loss,
        # Sums in another order differ by less.
        compared=lambda before, after: form.difference(round(after - before, 6)),
    ),
    Measure(metric="size/parameters", label="parameters", shown=form.count, compared=_smaller),
    # Mostly there were none before, to which a ratio says nothing.
    Measure(
        metric="size/zeros",
        label="of these zero",
        shown=form.count,
        compared=lambda before, after: "",
    ),
    Measure(
        metric="size/multiply_adds",
        label="multiply-adds a sample",
        shown=form.count,
        compared=_fewer,
    ),
    Measure(metric="size/model_mb", label="model on disk", shown=form.megabytes, compared=_smaller),
    Measure(metric="size/gzip_mb", label="gzipped", shown=form.megabytes, compared=_smaller),
    Measure(
        metric="latency/p50_ms",
        label="latency p50, batch 1",
        shown=form.milliseconds,
        compared=_faster,
    ),
    Measure(
        metric="latency/p95_ms",
        label="latency p95, batch 1",
        shown=form.milliseconds,
        compared=_faster,
    ),
    Measure(
        metric="throughput/samples_per_s",
        label="throughput, batched",
        shown=form.rate,
        compared=_more,
    ),
    Measure(
        metric="energy/mj_per_sample",
        label="energy a sample, batched",
        shown=form.millijoules,
        compared=_less,
    ),
    Measure(
        metric="compression/agreement",
        label="same answers",
        shown=form.percent,
        compared=lambda before, after: "",
    ),
    # Of embeddings, which have no answers to be the same.
    Measure(
        metric=COSINE,
        label="cosine to the original",
        shown=form.cosine,
        compared=lambda before, after: "",
    ),
    *(
        Measure(metric=metric, label=label, shown=partial(form.metric, metric), compared=_more)
        for metric, label in rates.LABELS.items()
    ),
)
_SHOWN = frozenset(measure.metric for measure in MEASURES)


def compare(report: Report) -> Comparison:
    """The table for a report: a column for each model, and for each ratio the two it is of.

    What a task started from has the figures that this task measured of it, beside its own model;
    those of the task that made it, from another process, are left to that task's particulars. Tasks
    that have not finished have no column: nothing was measured of what they kept, but where a gate
    was missed. Rows that no column has are left out.
    """
    tasks = [task for task in report.tasks if is_measured(task) and _names(task)]
    rows = [
        measure
        for measure in MEASURES
        if any(measure.metric in _names(task) for task in tasks)
        and (measure.metric != COSINE or not all(_is_scored(task) for task in tasks))
        and (measure.metric != SAMPLES or len({task.metrics.get(SAMPLES) for task in tasks}) > 1)
    ]
    remeasured = {origin(report, task) for task in tasks if _baseline(task)}
    columns: list[Column] = []
    for task in tasks:
        is_elsewhere = task.name in remeasured and not _baseline(task)
        own = [] if is_elsewhere else _own_columns(report, task, rows)
        columns += own + _form_columns(report, task, rows, is_told=bool(own))
    labels = {measure.metric: measure.label for measure in rows}
    if "test/accuracy" in labels:
        labels["test/accuracy"] = accuracy_name(report, tasks)
    return Comparison(labels=tuple(labels.values()), columns=_told_apart(columns))


def origin(report: Report, task: TaskReport) -> str | None:
    """The task whose model ``task`` started from: it depends on it and counts the same parameters.

    None if no task made it, for instance a model given as a path.
    """
    parameters = task.metrics.get(f"{BASELINE}size/parameters")
    for other in report.tasks:
        measured = other.metrics.get("size/parameters")
        if other.name in task.depends_on and measured is not None and measured == parameters:
            return other.name
    return None


def is_measured(task: TaskReport) -> bool:
    """Whether the task came to measuring what it made: it finished, or missed a gate only."""
    return task.status == "finished" or (task.error or {}).get("type") == "GateMissed"


def _is_scored(task: TaskReport) -> bool:
    return "test/accuracy" in _names(task)


def _names(task: TaskReport) -> set[str]:
    """The figures that the table shows and the task has, of its model or of another."""
    found = [task.metrics, _baseline(task), *forms(task.metrics, _SHOWN).values()]
    return {name for figures in found for name in figures} & _SHOWN


def _baseline(task: TaskReport) -> dict[str, float]:
    """What the task measured of the model that it started from."""
    return {
        name.removeprefix(BASELINE): value
        for name, value in task.metrics.items()
        if name.startswith(BASELINE) and name.removeprefix(BASELINE) in _SHOWN
    }


def _told_apart(columns: list[Column]) -> tuple[Column, ...]:
    """A note on each baseline whose heading another column has too: whose baseline it is."""
    headings = Counter(column.heading for column in columns)
    return tuple(
        replace(column, note=f"beside {column.task}")
        if column.role == "baseline" and headings[column.heading] > 1
        else column
        for column in columns
    )


def _own_columns(report: Report, task: TaskReport, rows: list[Measure]) -> list[Column]:
    """Those of the one model that a task made, and of what it started from.

    A model that was measured again beside its forms, on the same device, is left to them.
    """
    baseline, made = _baseline(task), forms(task.metrics, _SHOWN)
    is_again = OWN in made and task.placement.get("device") == "cpu"
    has_one = bool((_SHOWN - {SAMPLES}) & task.metrics.keys())
    if not baseline:
        return [_column(task.name, "model", task, task.metrics, rows)] * (has_one and not is_again)
    before = origin(report, task)
    heading = before or f"{task.name}'s original"
    columns = [_column(heading, "baseline", task, baseline, rows)]
    if has_one:
        columns.append(_column(task.name, "model", task, task.metrics, rows))
        heading = f"{task.name} vs {before or 'its original'}"
        columns.append(_change_column(heading, task, baseline, task.metrics, rows))
    return columns


def _form_columns(
    report: Report, task: TaskReport, rows: list[Measure], *, is_told: bool
) -> list[Column]:
    """Those of the forms that a task made of a model, each with its change against that model.

    ``is_told`` says that there are columns of it as it was measured elsewhere.
    """
    made = forms(task.metrics, _SHOWN)
    own = made.pop(OWN, None)
    if own is None:
        before, against = _baseline(task), origin(report, task) or "its original"
        columns = []
    else:
        heading = f"{task.name} {OWN}" if is_told else task.name
        before, against = own, OWN if is_told else task.name
        columns = [_column(heading, "baseline", task, before, rows)]
    for name, figures in made.items():
        columns.append(_column(f"{task.name} {name}", "model", task, figures, rows))
        if before:
            heading = f"{name} vs {against}"
            columns.append(_change_column(heading, task, before, figures, rows))
    return columns


def _column(
    heading: str,
    role: Literal["model", "baseline"],
    task: TaskReport,
    figures: Mapping[str, float],
    rows: list[Measure],
) -> Column:
    # All of a task's models were measured on the same samples.
    figures = {SAMPLES: task.metrics.get(SAMPLES, math.nan), **figures}
    cells = tuple(measure.shown(figures.get(measure.metric)) for measure in rows)
    return Column(heading=heading, role=role, task=task.name, cells=cells)


def _change_column(
    heading: str,
    task: TaskReport,
    before: Mapping[str, float],
    after: Mapping[str, float],
    rows: list[Measure],
) -> Column:
    cells = tuple(
        measure.compared(before[measure.metric], after[measure.metric])
        if measure.metric in before and measure.metric in after
        else form.NONE
        for measure in rows
    )
    return Column(heading=heading, role="change", task=task.name, cells=cells)
