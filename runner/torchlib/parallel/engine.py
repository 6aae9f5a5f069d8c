"""Makes the engine of a gang: divides a model over the mesh as asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from runner.errors import TaskError
from runner.model import Widths
from runner.torchlib.engine import Engine
from runner.torchlib.parallel import pp
from runner.torchlib.parallel.chain import chain_of
from runner.torchlib.parallel.mesh import MeshEngine, strategies
from runner.torchlib.parallel.options import Options
from runner.torchlib.parallel.pipeline import Cut, PipelineEngine, check_cut
from runner.torchlib.parallel.world import make_mesh
from runner.torchlib.precision import Precision


def make_engine(
    model: nn.Module,
    *,
    widths: Widths,
    precision: Precision,
    device: str,
    global_batch_size: int,
    micro_batch_size: int,
    options: Options,
    sample: Tensor,
) -> Engine:
    """The engine of this rank. Every rank of the process group must call it with the same.

    ``model`` has the same weights on every rank. Each forward pass takes ``micro_batch_size``
    samples, which a pipeline cuts into ``options.microbatches``; by ``sample``, the inputs of one,
    it learns what is under way in a model that is no sequence. Where ``options`` have no plan for
    tensor parallel, the model's own is taken (its attribute ``tensor_plan``). Raises TaskError, on
    all ranks alike, if the model or the batch can't be divided so.
    """
    own_plan = getattr(model, "tensor_plan", {})
    options = replace(options, tp_plan=options.tp_plan or own_plan)
    for strategy in strategies(widths):
        strategy.check(model, widths, options)
    make: Callable[..., Engine] = partial(
        MeshEngine if widths.pp == 1 else PipelineEngine,
        model,
        widths=widths,
        precision=precision,
        device=device,
        options=options,
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
    on_device = sample.to(next(model.parameters()).device)
    chain = chain_of(model, on_device.expand(rows, *sample.shape))
    pp.check(model, chain, widths, options)
    return make(mesh=make_mesh(widths, device), cut=Cut(microbatches=count, rows=rows), chain=chain)
