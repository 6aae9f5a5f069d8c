"""Makes the engine of a gang: divides a model over the mesh as asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from torch import nn

from runner.errors import TaskError
from runner.model import Widths
from runner.torchlib.engine import Engine
from runner.torchlib.parallel import ddp, fsdp, pp, tp
from runner.torchlib.parallel.mesh import MeshEngine
from runner.torchlib.parallel.pipeline import Cut, PipelineEngine, check_cut
from runner.torchlib.parallel.world import make_mesh
from runner.torchlib.precision import Precision


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What there is to choose beyond the widths; see the modules that use it.

    ``tp_plan`` None means the model's own (its attribute ``tensor_plan``).
    """

    tp_plan: Mapping[str, tp.Style] | None = None
    pp_schedule: pp.ScheduleName = "1f1b"
    pp_split: tuple[str, ...] = ()
    microbatches: int = 1
    reshard: bool = True
    offload: bool = False


def make_engine(
    model: nn.Module,
    *,
    widths: Widths,
    precision: Precision,
    device: str,
    global_batch_size: int,
    micro_batch_size: int,
    options: Options,
) -> Engine:
    """The engine of this rank. Every rank of the process group must call it with the same.

    ``model`` has the same weights on every rank. Each forward pass takes ``micro_batch_size``
    samples, which a pipeline cuts into ``options.microbatches``. Raises TaskError, on all ranks
    alike, if the model or the batch can't be divided so.
    """
    tp_plan = getattr(model, "tensor_plan", {}) if options.tp_plan is None else options.tp_plan
    if widths.tp > 1:
        tp.check(model, widths, tp_plan)
    (fsdp if widths.strategy == "fsdp" else ddp).check(model, widths)
    make: Callable[..., Engine] = partial(
        MeshEngine if widths.pp == 1 else PipelineEngine,
        model,
        widths=widths,
        precision=precision,
        device=device,
        tp_plan=tp_plan,
        fsdp_options=fsdp.Options(reshard=options.reshard, offload=options.offload),
    )
    if widths.pp == 1:
        return make(mesh=make_mesh(widths, device))
    if micro_batch_size % options.microbatches:
        raise TaskError(
            f"{micro_batch_size} samples can't be cut into {options.microbatches} micro-batches",
            hint="take microbatches that divide per_device_batch_size",
        )
    rows = micro_batch_size // options.microbatches
    count = global_batch_size // widths.dp // rows
    check_cut(rows, count, widths, options.pp_schedule)
    pp.check(model, widths, options.pp_schedule, options.pp_split)
    cut = Cut(schedule=options.pp_schedule, microbatches=count, rows=rows, split=options.pp_split)
    return make(mesh=make_mesh(widths, device), cut=cut)
