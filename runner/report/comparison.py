"""The comparison table as data: what each task's model measured, and how it compares to what
it was made from. Terminal, Markdown and HTML lay out the same cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from runner.report import format as form
from runner.report.summary import Report, TaskReport

BASELINE = "baseline/"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """A row: the metric, its label, how a value reads, and how a value reads against its baseline.

    ``compared`` takes (before, after); ``ratio`` names the metric in which the kind says so itself,
    and ``restated`` how that reads.
    """

    metric: str
    label: str
    shown: Callable[[float | None], str]
    compared: Callable[[float, float], str]
    ratio: str | None = None
    restated: Callable[[float | None], str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A heading and its cells, one a row. ``role`` tells what the figures are.

    ``model`` is what a task measured, ``baseline`` what a task started from where no other task
    made it, ``change`` the one against the other. ``note`` says why cells are empty, if they are.
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


def _smaller(before: float, after: float) -> str:
    return form.change(before / after if after else None, "smaller", "larger")


def _faster(before: float, after: float) -> str:
    return form.change(before / after if after else None, "faster", "slower")


def _more(before: float, after: float) -> str:
    return form.change(after / before if before else None, "more", "less")


MEASURES = (
    Measure(
        metric="test/accuracy",
        label="test accuracy",
        shown=form.percent,
        compared=lambda before, after: form.points(after - before),
        ratio="compression/accuracy_drop",
        restated=lambda drop: form.points(None if drop is None else -drop),
    ),
    Measure(
        metric="test/loss",
        label="test loss",
        shown=form.loss,
        compared=lambda before, after: form.difference(after - before),
    ),
    Measure(metric="size/parameters", label="parameters", shown=form.count, compared=_smaller),
    Measure(
        metric="size/model_mb",
        label="model on disk",
        shown=form.megabytes,
        compared=_smaller,
        ratio="compression/size_ratio",
        restated=lambda ratio: form.change(ratio, "smaller", "larger"),
    ),
    Measure(
        metric="latency/p50_ms",
        label="latency p50, batch 1",
        shown=form.milliseconds,
        compared=_faster,
        ratio="compression/speedup",
        restated=lambda ratio: form.change(ratio, "faster", "slower"),
    ),
    Measure(
        metric="latency/p95_ms",
        label="latency p95, batch 1",
        shown=form.milliseconds,
        compared=_faster,
    ),
    Measure(
        metric="throughput/samples_per_s",
        label="throughput, batch 64",
        shown=form.rate,
        compared=_more,
    ),
)


def compare(report: Report) -> Comparison:
    """The table for a report: a column for each model measured, and one for each change.

    A task that has not finished has a column too, which says so. Rows that no task has are left
    out; so are tasks that finished and measured no model.
    """
    rows = [
        measure
        for measure in MEASURES
        if any(
            measure.metric in task.metrics or BASELINE + measure.metric in task.metrics
            for task in report.tasks
        )
    ]
    columns: list[Column] = []
    for task in report.tasks:
        measured = any(measure.metric in task.metrics for measure in rows)
        if not measured and task.status == "finished":
            continue
        compared = any(BASELINE + measure.metric in task.metrics for measure in rows)
        before = origin(report, task)
        if compared and before is None:
            columns.append(_baseline_column(task, rows))
        columns.append(_model_column(task, rows))
        if compared:
            columns.append(_change_column(task, before, rows))
    return Comparison(
        labels=tuple(measure.label for measure in rows), columns=tuple(columns) if rows else ()
    )


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


def _model_column(task: TaskReport, rows: list[Measure]) -> Column:
    return Column(
        heading=task.name,
        role="model",
        task=task.name,
        cells=tuple(_cell(measure, task.metrics, measure.metric) for measure in rows),
        note="" if task.status == "finished" else task.status.replace("_", " "),
    )


def _baseline_column(task: TaskReport, rows: list[Measure]) -> Column:
    return Column(
        heading=f"{task.name}'s original",
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
    if measure.ratio and measure.restated and measure.ratio in metrics:
        return measure.restated(metrics[measure.ratio])
    before, after = metrics.get(BASELINE + measure.metric), metrics.get(measure.metric)
    return form.NONE if before is None or after is None else measure.compared(before, after)
