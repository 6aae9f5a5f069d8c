"""The particulars of one task as labelled lines: where, how often, how long, in what portions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.report import format as form
from runner.report.comparison import BASELINE, MEASURES
from runner.report.failure import failure
from runner.report.fold import AttemptState
from runner.report.summary import TaskReport

# Figures that the comparison table shows already.
COMPARED = frozenset(measure.metric for measure in MEASURES)


def particulars(task: TaskReport) -> list[tuple[str, str]]:
    """Label and text, those that apply."""
    lines = [("Placed on", _placement(task))]
    if task.depends_on:
        lines.append(("After", ", ".join(task.depends_on)))
    if task.batches:
        lines.append(("Batches", batch_arithmetic(task.batches)))
    if task.status == "skipped" and task.error:
        lines.append(("Skipped", failure(task.error).summary))
    if len(task.attempts) > 1:
        lines.append(("Attempts", "; ".join(_attempt(each) for each in task.attempts)))
    if task.folder:
        lines.append(("Folder", task.folder))
    return [(label, text) for label, text in lines if text]


def figures_beside(task: TaskReport) -> list[tuple[str, str]]:
    """The metrics that the comparison table does not show, each in its unit."""
    return [
        (name, form.metric(name, value))
        for name, value in task.metrics.items()
        if name not in COMPARED and not name.startswith((BASELINE, "compression/"))
    ]


def path_in_run(path: str, run: str) -> str:
    """``path`` from the run's folder on, where it lies in there."""
    _, found, inside = path.partition(f"/{run}/")
    return inside if run and found else path


def batch_arithmetic(batches: Mapping[str, Any]) -> str:
    """'128 = 32 per device x 2 accumulated x 2 workers; 1437 samples, 12 steps an epoch'."""
    workers, accumulation = batches["num_workers"], batches["gradient_accumulation_steps"]
    text = (
        f"{batches['global_batch_size']} = {batches['per_device_batch_size']} per device "
        f"{form.TIMES} {accumulation} accumulated {form.TIMES} {workers} "
        f"worker{'' if workers == 1 else 's'}"
    )
    known = [
        f"{batches[name]} {unit}"
        for name, unit in (
            ("train_samples", "samples"),
            ("steps_per_epoch", "steps an epoch"),
            ("total_steps", "steps in all"),
        )
        if batches.get(name) is not None
    ]
    return f"{text}; {', '.join(known)}" if known else text


def _placement(task: TaskReport) -> str:
    nodes = task.node or ", ".join(task.placement.get("nodes") or ())
    device = str(task.placement.get("device") or "")
    where = f"{nodes} ({device})" if nodes and device else nodes or device
    reason = str(task.placement.get("reason") or "")
    return f"{where}: {reason}" if where and reason else where or reason


def _attempt(attempt: AttemptState) -> str:
    text = f"{attempt.number} {attempt.status.replace('_', ' ')}"
    if attempt.started_s is not None and attempt.ended_s is not None:
        text += f" after {form.duration(attempt.ended_s - attempt.started_s)}"
    if attempt.node:
        text += f" on {attempt.node}"
    return f"{text} ({failure(attempt.error).summary})" if attempt.error else text
