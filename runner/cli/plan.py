"""runner plan FILE"""

from __future__ import annotations

import os
from pathlib import Path

import click

from runner.cli.options import (
    address_option,
    cluster_option,
    file_argument,
    json_option,
    node_types,
    set_option,
)
from runner.model import Batches, Plan


@click.command()
@file_argument
@set_option
@address_option
@cluster_option
@json_option
def command(
    file: Path,
    overrides: tuple[str, ...],
    address: str | None,
    cluster: Path | None,
    as_json: bool,
) -> None:
    """Show where each task of FILE would run, and why. Nothing is started.

    What is shown is what 'submit' carries out. With --cluster and no --address, the plan is for a
    cluster that is not up yet. Exit code 3 means that a task can never fit.
    """
    from runner.cluster.address import resolve
    from runner.plan import place
    from runner.plan.saved import to_json
    from runner.runs.submission import target
    from runner.spec.read import read

    job = read(file, overrides=overrides, environment=os.environ)
    types = node_types(cluster)
    if types is not None and address is None:
        plan = place(job, types)
    else:
        with target(resolve(address, os.environ), types) as where:
            plan = place(job, where.inventory)
    click.echo(to_json(plan) if as_json else _text(plan), nl=False)


def _text(plan: Plan) -> str:
    from runner.plan.parallelism import stages_in_words
    from runner.report.format import duration

    count = len(plan.tasks)
    lines = [f"{plan.job.name}: {count} task{'s' if count > 1 else ''} on {plan.cluster}", ""]
    for planned in sorted(plan.tasks, key=lambda each: each.wave):
        task = planned.task
        after = f", after {', '.join(task.depends_on)}" if task.depends_on else ""
        lines.append(f"{task.name}  ({task.kind}{after})")
        lines.append(
            f"  where    {', '.join(planned.placement.nodes)} on {planned.placement.device}"
        )
        lines.append(f"  why      {planned.placement.reason}")
        if planned.placement.num_workers > 1:
            divided = f": {planned.parallelism}" if planned.parallelism else ""
            lines.append(f"  workers  {planned.placement.num_workers}{divided}")
        if stages := stages_in_words(planned):
            lines.append(f"  stages   {stages}")
        if planned.batches is not None:
            ranks = planned.placement.num_workers // planned.batches.num_workers
            lines += [f"  {line}" for line in _batches(planned.batches, ranks)]
        if task.timeout_s is not None:
            lines.append(f"  limit    {duration(task.timeout_s)}")
        lines.append("")
    order: dict[int, list[str]] = {}
    for planned in plan.tasks:
        order.setdefault(planned.wave, []).append(planned.task.name)
    steps = " → ".join(" + ".join(names) for _, names in sorted(order.items()))
    return "\n".join([*lines, f"order  {steps}"]) + "\n"


def _batches(batches: Batches, ranks: int) -> list[str]:
    """``ranks`` workers share each portion of a batch: those of tensor and pipeline parallel."""
    what = "worker" if ranks == 1 else f"group of {ranks} workers"
    many = what.replace("worker", "workers") if ranks == 1 else what.replace("group", "groups")
    workers = f"{batches.num_workers} {many if batches.num_workers > 1 else what}"
    each = f"{'at most ' if batches.is_auto else ''}{batches.per_device_batch_size} per device"
    lines = [
        f"batch    {batches.global_batch_size} = {each} x "
        f"{batches.gradient_accumulation_steps} accumulated x {workers}"
    ]
    if batches.train_samples is not None:
        lines.append(
            f"steps    {batches.total_steps:,}, {batches.steps_per_epoch:,} per epoch of "
            f"{batches.train_samples:,} samples"
        )
    elif batches.total_steps is not None:
        lines.append(f"steps    {batches.total_steps:,}")
    else:
        lines.append("steps    known once the data is read")
    return lines
