"""How the workers of a training divide it: what a spec says, and what that comes to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from runner.model import Widths
from runner.parameters import Parameters, PositiveInt


class ParallelismParams(Parameters):
    """How the workers divide a training: whole copies, shards, parts of layers, or stages."""

    strategy: Literal["auto", "ddp", "fsdp"] = Field(
        "auto",
        description="how workers that take different samples keep one model: whole copies (ddp) or "
        "shards (fsdp); auto takes ddp where a copy fits into the device's memory",
    )
    dp_replicate: PositiveInt | None = Field(
        None, description="groups of workers that each hold a whole model, shared out as shards"
    )
    dp_shard: PositiveInt | None = Field(
        None, description="workers among which a whole model is sharded; by default all there are"
    )
    tp: PositiveInt = Field(1, description="workers that divide every layer (tensor parallel)")
    tp_plan: dict[str, Literal["column", "row"]] | None = Field(
        None,
        description="for tp and a model of yours: patterns of its linear layers' names, each "
        "divided by outputs (column) or inputs (row)",
    )
    pp: PositiveInt = Field(1, description="stages of the model (pipeline parallel)")
    pp_schedule: Literal["gpipe", "1f1b", "interleaved-1f1b", "zero-bubble"] = Field(
        "1f1b", description="in which order stages work on micro-batches"
    )
    pp_split: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list,
        description="modules before which to cut; by default even in parameters",
    )
    microbatches: PositiveInt = Field(
        1, description="pieces into which a pipeline cuts per_device_batch_size"
    )
    reshard_after_forward: bool = Field(
        True, description="fsdp: free gathered layers between the forward and the backward pass"
    )
    cpu_offload: bool = Field(False, description="fsdp: keep shards and optimizer in host memory")


def resolve_widths(params: ParallelismParams, num_workers: int, *, copy_fits: bool) -> Widths:
    """The mesh of ``num_workers`` ranks.

    ``copy_fits`` says whether a whole model with its gradients and optimizer state fits into one
    device. Raises ValueError where the widths don't multiply to ``num_workers``, or where a
    strategy does not go with them; the message ends with what would.
    """
    per_copy = params.tp * params.pp
    if num_workers % per_copy:
        below = num_workers - num_workers % per_copy
        nearest = f"{below} or {below + per_copy}" if below else f"{per_copy}"
        raise ValueError(
            f"tp {params.tp} x pp {params.pp} = {per_copy} does not divide num_workers "
            f"{num_workers}; the nearest num_workers that it does: {nearest}"
        )
    dp = num_workers // per_copy
    strategy = params.strategy
    given = params.dp_replicate or params.dp_shard
    if strategy == "auto":
        strategy = "fsdp" if needs_shards(params, dp) or not copy_fits else "ddp"
    if dp == 1 and not given and not params.cpu_offload:
        return Widths(pp=params.pp, tp=params.tp)
    if strategy == "ddp":
        if (params.dp_shard or 1) > 1:
            raise ValueError("ddp does not shard; leave dp_shard out, or take strategy: fsdp")
        if params.tp > 1 and dp > 1:
            raise ValueError("ddp does not go with tp; take strategy: fsdp")
        if params.cpu_offload:
            raise ValueError("ddp does not offload; take strategy: fsdp")
        replicate, shard = params.dp_replicate or dp, 1
    else:
        replicate = params.dp_replicate or dp // (params.dp_shard or dp) or 1
        shard = params.dp_shard or dp // replicate or 1
    if replicate * shard != dp:
        rest = "" if per_copy == 1 else f" (num_workers {num_workers} / {per_copy})"
        raise ValueError(
            f"dp_replicate {replicate} x dp_shard {shard} = {replicate * shard} is not the "
            f"{dp} data-parallel workers{rest}; leave one of them out and it is derived"
        )
    return Widths(
        strategy=strategy, pp=params.pp, dp_replicate=replicate, dp_shard=shard, tp=params.tp
    )


def needs_shards(params: ParallelismParams, dp: int) -> bool:
    """Whether what is asked of ``dp`` data-parallel workers can't be had with whole copies."""
    # DDP does not take parameters that tensor parallel has divided.
    return (
        (params.dp_shard or 1) > 1
        or (params.dp_replicate or dp) < dp
        or params.tp > 1
        or params.cpu_offload
    )


def in_words(widths: Widths) -> str:
    """The mesh in one line: ``fsdp over 4 x tensor parallel over 2``."""
    parts = []
    if widths.dp_replicate > 1 and widths.dp_shard > 1:
        parts.append(f"{widths.dp_replicate} copies, each sharded over {widths.dp_shard} (hsdp)")
    elif widths.strategy == "fsdp":
        parts.append(f"shards over {widths.dp} workers (fsdp)")
    elif widths.dp > 1:
        parts.append(f"{widths.dp} copies (ddp)")
    if widths.tp > 1:
        parts.append(f"layers over {widths.tp} (tensor parallel)")
    if widths.pp > 1:
        parts.append(f"{widths.pp} stages (pipeline parallel)")
    return " x ".join(parts) or "one worker"
