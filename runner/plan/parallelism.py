"""How a task's workers divide its training, with how many of them it can run, and why so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from runner.kinds import division, find
from runner.kinds.division import count_stages
from runner.kinds.memory import copy_fits, device_bytes, parameters_of, training_bytes
from runner.kinds.parallelism import in_words, needs_shards, resolve_widths
from runner.kinds.training import TrainingParams
from runner.model import Accelerator, Node, PlannedTask, Resources, Task, Widths
from runner.plan.gangs import Layout, bundles_on
from runner.plan.offers import UNSTATED_MEMORY, same_type
from runner.spec.resources import memory_text


def training_params(task: Task) -> TrainingParams | None:
    """The parameters of a task that trains with PyTorch; None for one that does not."""
    kind = find(task.kind)
    model = kind.params
    if not issubclass(model, TrainingParams) or kind.framework_of(task.params) != "torch":
        return None
    return model.model_validate(dict(task.params), strict=False)


def usable_counts(task: Task) -> list[int]:
    """With how many workers the task can run, the largest number first; the spec bounds them.

    Those that don't divide its global batch, or its mesh, are left out.
    """
    return counts_for(training_params(task), task.resources)


def counts_for(params: TrainingParams | None, asked: Resources) -> list[int]:
    """As ``usable_counts``, of parameters at hand."""
    if asked.min_workers is None:  # checked with the spec
        return [asked.num_workers]
    return division.usable_counts(params, asked)


def explain(
    params: TrainingParams, num_workers: int, device_memory: float | None
) -> tuple[Widths, str]:
    """The mesh of the workers, and in words how it divides the training and why it does so.

    ``device_memory`` is what each worker has in bytes, None where that isn't known.
    """
    chosen = params.parallelism
    parameters = parameters_of(params)
    parts = chosen.tp * chosen.pp
    fits = copy_fits(parameters, device_memory, parts=parts)
    widths = resolve_widths(chosen, num_workers, copy_fits=fits is not False)
    words = in_words(widths)
    if num_workers == 1:
        return widths, ""
    if chosen.strategy != "auto" or widths.dp == 1:
        return widths, words
    if needs_shards(chosen, widths.dp):
        return widths, f"{words}; auto: fsdp, as whole copies don't go with {_against(params)}"
    if fits is None or parameters is None or device_memory is None:
        rest = replace(widths, strategy="none", dp_replicate=1, dp_shard=1)
        beside = "" if rest.size == 1 else f" x {in_words(rest)}"
        return widths, (
            f"{widths.dp} portions of each batch{beside}; auto: decided on the workers: ddp if a "
            "copy fits into the device's memory, else fsdp"
        )
    what = "a copy" if parts == 1 else f"1/{parts} of a copy"
    takes = memory_text(training_bytes(parameters) // parts, up=True)
    of = memory_text(int(device_memory))
    if fits:
        return widths, f"{words}; auto: ddp, as {what} takes {takes} of {of}"
    return widths, f"{words}; auto: fsdp, as {what} takes {takes}, more than half of {of}"


def stages_in_words(planned: PlannedTask) -> str:
    """Where a planned pipeline is cut, and into how many pieces each step; empty for no pipeline.

    '2 of about as many parameters each; a step in 4 micro-batches of 4 samples, by 1f1b'.
    """
    params, batches = training_params(planned.task), planned.batches
    if params is None or batches is None or params.parallelism.pp == 1:
        return ""
    chosen = params.parallelism
    cuts = " and ".join(chosen.pp_split)
    where = f", cut before {cuts}" if cuts else " of about as many parameters each"
    pieces = chosen.microbatches * batches.gradient_accumulation_steps
    rows = batches.per_device_batch_size // chosen.microbatches
    size = f"{'at most ' if batches.is_auto else ''}{rows} sample{'' if rows == 1 else 's'}"
    return (
        f"{count_stages(params)}{where}; a step in {pieces} micro-batch"
        f"{'' if pieces == 1 else 'es'} of {size}, by {chosen.pp_schedule}"
    )


def _against(params: TrainingParams) -> str:
    chosen = params.parallelism
    given = {
        "tp": chosen.tp > 1,
        "dp_shard": (chosen.dp_shard or 1) > 1,
        "dp_replicate": chosen.dp_replicate is not None,
        "cpu_offload": chosen.cpu_offload,
    }
    return next(name for name, is_given in given.items() if is_given)


def device_memory(
    nodes: Sequence[Node], asked: Resources, accelerator: Accelerator | None, lie: Layout
) -> float | None:
    """The least memory in bytes that a worker's device has on these nodes; None if not known.

    On CPUs it is what the worker asks for, or its part of the node's.
    """
    if accelerator is not None:
        found = [_of_devices(node, accelerator) for node in nodes]
    elif asked.memory_bytes is not None:
        return asked.memory_bytes
    else:
        found = [_of_cpus(node, asked, lie) for node in nodes]
    known = [each for each in found if each is not None]
    return min(known) if known and len(known) == len(found) else None


def _of_devices(node: Node, wanted: Accelerator) -> float | None:
    found = [
        device_bytes(device.type)
        for device in node.accelerators
        if device.family == wanted.family
        and (wanted.type is None or same_type(device.type or "") == same_type(wanted.type))
    ]
    known = [each for each in found if each is not None]
    return min(known) if known and len(known) == len(found) else None


def _of_cpus(node: Node, asked: Resources, lie: Layout) -> float | None:
    if node.memory_bytes >= UNSTATED_MEMORY:
        return None
    bundles = bundles_on(replace(node, count_max=None), asked, None, lie)
    return node.memory_bytes / (min(bundles, lie.count) * lie.size)
