"""The comparison table as data: what each task's model measured, and how it compares to what
it was made from. Terminal, Markdown and HTML lay out the same cells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from runner.report import format as form
from runner.report import rates
from runner.report.language import ACCURACY, accuracy_name
from runner.report.summary import Report, TaskReport

BASELINE = "baseline/"
CAPTION = "Models compared were measured in the same process; changes are before rounding."


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
            if not last or last[0].role != "baseline" or last[-1].role == "change":
                found.append([column])
            else:
                last.append(column)
        return found


def _smaller(before: float, after: float) -> str:
    return form.change(before / after if after else None, "smaller", "larger")


def _faster(before: float, after: float) -> str:
    return form.change(before / after if after else None, "faster", "slower")


def _more(before: float, after: float) -> str:
    return form.change(after / before if before else None, "more", "less")


SAMPLES = "data/test_samples"

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
        compared=lambda before, after: form.difference(after - before),
    ),
    Measure(metric="size/parameters", label="parameters", shown=form.count, compared=_smaller),
    Measure(metric="size/model_mb", label="model on disk", shown=form.megabytes, compared=_smaller),
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
    *(
        Measure(metric=metric, label=label, shown=partial(form.metric, metric), compared=_more)
        for metric, label in rates.LABELS.items()
    ),
)


def compare(report: Report) -> Comparison:
    """The table for a report: a column for each model, and for each ratio the two it is of.

    What a task started from has the figures that this task measured of it, beside its own model;
    those of the task that made it, from another process, are left to that task's particulars. Tasks
    that have not finished have no column: nothing was measured of what they kept. Rows that no
    column has are left out.
    """
    tasks = [task for task in report.tasks if task.status == "finished" and _names(task)]
    rows = [
        measure
        for measure in MEASURES
        if any(_names(task) & {measure.metric, BASELINE + measure.metric} for task in tasks)
        and (measure.metric != SAMPLES or len({task.metrics.get(SAMPLES) for task in tasks}) > 1)
    ]
    compared = [task for task in tasks if any(name.startswith(BASELINE) for name in _names(task))]
    remeasured = {origin(report, task) for task in compared}
    columns: list[Column] = []
    for task in tasks:
        if task not in compared:
            columns += [] if task.name in remeasured else [_model_column(task, rows)]
            continue
        before = origin(report, task)
        columns += [
            _baseline_column(task, before, rows),
            _model_column(task, rows),
            _change_column(task, before, rows),
        ]
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


def _names(task: TaskReport) -> set[str]:
    """Those of its metrics that the table shows."""
    return {
        name
        for measure in MEASURES
        for name in (measure.metric, BASELINE + measure.metric)
        if name in task.metrics
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


def _model_column(task: TaskReport, rows: list[Measure]) -> Column:
    return Column(
        heading=task.name,
        role="model",
        task=task.name,
        cells=tuple(_cell(measure, task.metrics, measure.metric) for measure in rows),
    )


def _baseline_column(task: TaskReport, before: str | None, rows: list[Measure]) -> Column:
    return Column(
        heading=before or f"{task.name}'s original",
        role="baseline",
        task=task.name,
        cells=tuple(_cell(measure, task.metrics, BASELINE + measure.metric) for measure in rows),
    )


def _change_column(task: TaskReport, before: str | None, rows: list[Measure]) -> Column:
    return Column(
        heading=f"{task.name} vs {before or 'its original'}",
        role="change",
        task=task.name,
        cells=tuple(_change(measure, task.metrics) for measure in rows),
    )


def _cell(measure: Measure, metrics: Mapping[str, float], name: str) -> str:
    return measure.shown(metrics.get(name))


def _change(measure: Measure, metrics: Mapping[str, float]) -> str:
    before, after = metrics.get(BASELINE + measure.metric), metrics.get(measure.metric)
    return form.NONE if before is None or after is None else measure.compared(before, after)
