"""The particulars of one task as labelled lines: where, how often, how long, in what portions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from runner.report import format as form
from runner.report.comparison import BASELINE, MEASURES, compare
from runner.report.failure import failure
from runner.report.fold import RESUMED, AttemptState, held_out
from runner.report.forms import forms
from runner.report.pareto import TRIED
from runner.report.summary import Report, TaskReport

# Figures that the comparison table shows, if it has the task.
COMPARED = frozenset(measure.metric for measure in MEASURES)
# Those that it shows as a change.
RATIOS = frozenset(
    f"compression/{name}" for name in ("size_ratio", "speedup", "throughput_ratio", "accuracy_drop")
)
TRAIN_SAMPLES, TEST_SAMPLES = "data/train_samples", "data/test_samples"


def particulars(task: TaskReport) -> list[tuple[str, str]]:
    """Label and text, those that apply."""
    lines = [("Placed on", _placement(task))]
    if task.depends_on:
        lines.append(("After", ", ".join(task.depends_on)))
    if task.batches:
        lines.append(("Batches", _batches(task, task.batches)))
    lines += [("Data", _samples(task)), ("Last evaluation", _last_evaluation(task))]
    if task.status == "skipped" and task.error:
        lines.append(("Skipped", failure(task.error).summary))
    if len(task.attempts) == 1:
        lines.append(("Waited", _wait(task.attempts[0])))
    else:
        lines.append(("Attempts", "; ".join(_attempt(each) for each in task.attempts)))
    if task.folder:
        lines.append(("Folder", task.folder))
    return [(label, text) for label, text in lines if text]


def figures_beside(report: Report, task: TaskReport) -> list[tuple[str, str]]:
    """The metrics that the comparison table does not show, each in its unit."""
    columns = compare(report).columns
    in_table = any(
        each.task == task.name and each.role == "model" and each.heading == task.name
        for each in columns
    )
    elsewhere = {TRAIN_SAMPLES, TEST_SAMPLES} | (COMPARED if in_table else frozenset())
    of_forms = {
        f"{name}/{figure}"
        for name, figures in forms(task.metrics, COMPARED | RATIOS).items()
        for figure in figures
    }
    return [
        (name, form.metric(name, value))
        for name, value in task.metrics.items()
        if name not in elsewhere | of_forms
        and not name.startswith((BASELINE, TRIED, "compression/"))
    ]


def path_in_run(path: str, run: str) -> str:
    """``path`` from the run's folder on, where it lies in there."""
    _, found, inside = path.partition(f"/{run}/")
    return inside if run and found else path


def _batches(task: TaskReport, batches: Mapping[str, Any]) -> str:
    """'128 = 32 per device x 2 accumulated x 2 workers; 1437 samples, 12 steps an epoch'.

    Where memory had a say in it, what it came to, and what was planned.
    """
    known = [
        f"{batches[name]} {unit}"
        for name, unit in (
            ("train_samples", "samples"),
            ("steps_per_epoch", "steps an epoch"),
            ("total_steps", "steps in all"),
        )
        if batches.get(name) is not None
    ]
    text = batch_arithmetic(task, batches)
    return f"{text}; {', '.join(known)}" if known else text


def batch_arithmetic(task: TaskReport, batches: Mapping[str, Any]) -> str:
    """'64 = 8 per device x 4 accumulated x 2 workers, as memory allowed (planned: 32 x 1 x 2)'.

    It multiplies out but where parts are uneven, of which the largest is told ('at most 11').
    """
    whole, portions = batches["global_batch_size"], batches["num_workers"]
    planned, windows = batches["per_device_batch_size"], batches["gradient_accumulation_steps"]
    widths = task.planned["params"].get("parallelism") or {}
    ranks = widths.get("tp", 1) * widths.get("pp", 1)  # they share a portion
    what, plural = ("group", f" of {ranks} workers") if ranks > 1 else ("worker", "")
    among = f"{portions} {what}{'' if portions == 1 else 's'}{plural}"
    at_most = "at most " if batches.get("is_auto") else ""
    micro = task.metrics.get("train/per_device_batch_size", math.nan)
    if not math.isfinite(micro) or micro < 1:
        each, accumulated, note = f"{at_most}{planned}", windows, ""
    else:
        accumulated = _accumulated(task, batches, micro)
        is_even = micro * accumulated * portions == whole
        each = f"{'' if is_even else 'at most '}{micro:g}"
        before = f"{at_most}{planned} {form.TIMES} {windows} {form.TIMES} {portions}"
        note = f", as memory allowed (planned: {before})" if micro != planned else ""
    return (
        f"{whole} = {each} per device {form.TIMES} {accumulated} accumulated {form.TIMES} "
        f"{among}{note}"
    )


def _accumulated(task: TaskReport, batches: Mapping[str, Any], micro: float) -> int:
    """Into how many forward passes of at most ``micro`` samples a worker's batch was divided.

    A size that was found, or bounded for an attempt, divides the batch anew; one that turned out
    too large is halved until its parts fit.
    """
    windows: int = batches["gradient_accumulation_steps"]
    is_bounded = bool(task.attempts) and task.attempts[-1].max_rows is not None
    if is_bounded or batches.get("is_auto"):
        whole: float = batches["global_batch_size"] / batches["num_workers"]
        return math.ceil(whole / micro)
    parts = 1
    while math.ceil(batches["per_device_batch_size"] / parts) > micro:
        parts *= 2
    return windows * parts


def _samples(task: TaskReport) -> str:
    """'trained on 1,437 samples, measured on 360', as far as the task says."""
    counts = [
        (verb, int(task.metrics[name]))
        for verb, name in (("trained on", TRAIN_SAMPLES), ("measured on", TEST_SAMPLES))
        if math.isfinite(task.metrics.get(name, math.nan))
    ]
    texts = [f"{verb} {count:,}" for verb, count in counts]
    return ", ".join([f"{texts[0]} samples", *texts[1:]]) if texts else ""


def _last_evaluation(task: TaskReport) -> str:
    """For a task that has not finished: how its model did that was in memory, and when."""
    points = {name: series[-1] for name, series in task.series.items() if held_out(name)}
    if task.status == "finished" or not points:
        return ""
    step = max(at for at, _ in points.values())
    figures = ", ".join(
        f"{name} {form.metric(name, value)}" for name, (at, value) in points.items() if at == step
    )
    return f"{figures} at step {step}, of the model then in memory; what is kept is measured last"


def _placement(task: TaskReport) -> str:
    nodes = task.node or ", ".join(task.placement.get("nodes") or ())
    device = str(task.placement.get("device") or "")
    where = f"{nodes} ({device})" if nodes and device else nodes or device
    reason = str(task.placement.get("reason") or "")
    return f"{where}: {reason}" if where and reason else where or reason


def _attempt(attempt: AttemptState) -> str:
    text = f"{attempt.number} {attempt.status.replace('_', ' ')}"
    took_s = attempt.duration_s(None)
    if took_s is not None:
        text += f" after {form.duration(took_s)}"
    if attempt.node:
        text += f" on {attempt.node}"
    if waited := _wait(attempt):
        text += f", waited {waited}"
    if attempt.max_rows is not None:
        text += f", with at most {form.at_once(attempt.max_rows)}"
        step = attempt.summary.get(RESUMED, 0.0 if attempt.series else math.nan)
        text += f" from step {step:g}" if math.isfinite(step) else ""
    return f"{text} ({failure(attempt.error).summary})" if attempt.error else text


def _wait(attempt: AttemptState) -> str:
    """'53.0 s for its place'; empty for an attempt that did not wait, or still does."""
    waited_s = attempt.waited_s(None)
    return f"{form.duration(waited_s)} for its place" if waited_s else ""
