"""What is made of a model before it is trained: layers in fp8, recomputation, compilation."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.errors import Unmeasured
from runner.kinds import Yield
from runner.kinds.division import batches_within
from runner.kinds.training import TrainingParams
from runner.model import Context, Fact

if TYPE_CHECKING:
    from runner.torchlib.data import Dataset
    from runner.torchlib.engine import Model


@dataclass(frozen=True, kw_only=True, slots=True)
class Changed:
    """``samples_per_s_at_peak`` is what a worker's device could train on at most, if known."""

    samples_per_s_at_peak: float | None = None
    has_graphs: bool = False


def change(
    context: Context, params: TrainingParams, model: Model, data: Dataset
) -> Generator[Yield, None, Changed]:
    """Changes ``model`` as the parameters ask, and yields what that came to, in words.

    To be called before it is divided among a gang. Raises TaskError where it can't be done here.
    """
    from runner.torchlib.operations import operations_per_s_at_peak, operations_per_sample
    from runner.torchlib.precision import resolve

    precision = resolve(params.precision, context.device)
    has_graphs, operations, at_peak = False, None, None
    is_gpu = context.device.startswith("cuda")
    if is_gpu:
        try:
            operations = operations_per_sample(model, data)
            at_peak = operations_per_s_at_peak(context.device, precision) / operations
        except Unmeasured as error:
            yield Fact(name="mfu", text=f"not measured: {error.message}")
    if precision == "fp8":
        from runner.torchlib.float8 import convert

        slower = "" if params.compile else "; without compile: true this is slower than bf16-mixed"
        text = convert(model, parts=params.parallelism.tp)
        yield Fact(name="fp8", text=f"{text}{slower}")
    if params.activation_checkpointing:
        from runner.torchlib.recomputation import recompute

        recompute(model, is_compiled=params.compile)
    if params.compile:
        from runner.torchlib.compilation import choose_graphs, compile_model, count_layers

        if is_gpu:
            graphs = choose_graphs(
                ranks=context.world_size,
                is_auto=params.per_device_batch_size == "auto",
                operations=_in_a_pass(context, params, operations),
                layers=count_layers(model),
            )
            yield Fact(name="CUDA graphs", text=graphs.why)
            has_graphs = graphs.are_used
        compile_model(
            model,
            device=context.device,
            is_staged=params.parallelism.pp > 1,
            has_graphs=has_graphs,
        )
    return Changed(samples_per_s_at_peak=at_peak, has_graphs=has_graphs)


def _in_a_pass(context: Context, params: TrainingParams, operations: float | None) -> float | None:
    """The operations of one forward pass; None if unknown, or if a gang has yet to divide it."""
    if operations is None or context.world_size > 1:
        return None
    _, micro, _ = batches_within(params, 1, context.max_rows)
    return operations * micro
