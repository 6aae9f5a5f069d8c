"""The nearest right name for a wrong one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MAX_LENGTH = 100
MAX_LISTED = 12
MIN_PART = 4

# What other tools call it, for the names that no slip of the finger explains; the first is taken
# that is right where the wrong name stands.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "accumulate_grad_batches": ("gradient_accumulation_steps",),
    "after": ("depends_on",),
    "amp": ("precision",),
    "batch_size": ("global_batch_size",),
    "bs": ("global_batch_size",),
    "16-mixed": ("fp16-mixed",),
    "bf16": ("bf16-mixed",),
    "ckpt": ("checkpoint",),
    "clip_grad_norm": ("max_grad_norm",),
    "cuda": ("gpu",),
    "dataset": ("data",),
    "devices": ("accelerators",),
    "epochs": ("max_epochs",),
    "float8": ("fp8",),
    "fp16": ("fp16-mixed",),
    "gpu": ("accelerators",),
    "gpus": ("accelerators", "gpu"),
    "grad_accum_steps": ("gradient_accumulation_steps",),
    "gradient_clip_val": ("max_grad_norm",),
    "kwargs": ("args",),
    "lr": ("learning_rate",),
    "mem": ("memory",),
    "micro_batch_size": ("per_device_batch_size",),
    "micro_batches": ("microbatches",),
    "mixed_precision": ("precision",),
    "n_microbatches": ("microbatches",),
    "needs": ("depends_on",),
    "nnodes": ("num_nodes",),
    "nodes": ("num_nodes",),
    "nproc_per_node": ("num_workers",),
    "num_cpus": ("cpus",),
    "num_epochs": ("max_epochs",),
    "num_gpus": ("accelerators",),
    "params": ("args",),
    "pipeline_parallel": ("pp",),
    "ram": ("memory",),
    "retries": ("max_restarts", "retry"),
    "save_steps": ("every_steps",),
    "save_total_limit": ("keep",),
    "schedule": ("pp_schedule", "lr_scheduler"),
    "scheduler": ("lr_scheduler",),
    "steps": ("max_steps",),
    "tensor_parallel": ("tp",),
    "tflite": ("litert",),
    "topology": ("accelerator_args",),
    "tpu_topology": ("topology", "accelerator_args"),
    "tpus": ("accelerators", "tpu"),
    "type": ("kind", "name"),
    "warmup": ("warmup_steps",),
    "wd": ("weight_decay",),
    "workers": ("num_workers",),
    "world_size": ("num_workers",),
    "xnnpack": ("executorch",),
}


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that ``name`` was most likely meant to be; None where none comes near.

    Asked in this order: whether only the case differs, whether other tools call it so, which needs
    the fewest letters changed, and which is part of the other.
    """
    lowered = {str(candidate).lower(): str(candidate) for candidate in known}
    wrong = name.lower()
    if len(name) > MAX_LENGTH:  # no typing error, and slow to compare
        return None
    if wrong in lowered:
        return lowered[wrong]
    for synonym in SYNONYMS.get(wrong, ()):
        if synonym in lowered:
            return lowered[synonym]
    # Names that share letters, found fast; but two short words soon share some.
    close = get_close_matches(wrong, lowered, n=8, cutoff=0.6)
    changes = {match: _changes(wrong, match) for match in close}
    fit = {
        match: count for match, count in changes.items() if count <= max(1, len(wrong) // 3)
    } or {
        match: len(match)
        for match in lowered
        if min(len(match), len(wrong)) >= MIN_PART and (wrong in match or match in wrong)
    }
    return lowered[min(fit, key=lambda match: fit[match])] if fit else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` where a known name is close, else what names there are, else ''."""
    names = [str(candidate) for candidate in known]
    close = nearest(name, names)
    if close is not None:
        return f"; did you mean '{close}'?"
    if not names or len(names) > MAX_LISTED or len(name) > MAX_LENGTH:
        return ""
    return "; expected one of " + ", ".join(names)


def _changes(one: str, other: str) -> int:
    """Letters to insert, delete, replace or swap with the next, to get from one to the other."""
    last: list[int] = []
    before: list[int] = []
    row: list[int] = [*range(len(other) + 1)]
    for i, letter in enumerate(one, start=1):
        last, before, row = before, row, [i]
        for j, wanted in enumerate(other, start=1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                best = min(best, last[j - 2] + 1)
            row.append(best)
    return row[-1]
