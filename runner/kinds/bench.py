"""kind: bench."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from runner.errors import Unmeasured
from runner.kinds import Kind, Yield
from runner.kinds.fitting import gang
from runner.model import Context, Fact, Metric, Progress
from runner.parameters import Parameters

STARTER = """\
# What a device can do: matrix products, copies, sums over a gang. Run this file with:
#   runner submit FILE
name: bench
tasks:
  device:
    kind: bench
    seconds: 5                 # about how long to time matrix products for
    # resources:
    #   accelerators: gpu:1    # gpu:8 times eight at once, and sums over them
"""

Precision = Literal["fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "int8"]
Size = Annotated[int, Field(ge=64, le=65_536, multiple_of=16)]


class BenchParams(Parameters):
    """Measure a device: matrix products in each precision, memory, host link and all-reduce."""

    precisions: Annotated[list[Precision], Field(min_length=1)] | None = Field(
        None,
        description="fp64, fp32, tf32, fp16, bf16, fp8 or int8; by default all that the device has",
    )
    sizes: Annotated[list[Size], Field(min_length=1)] = Field(
        [256, 512, 1024, 2048, 4096, 8192, 16384],
        description="the n of the n x n matrices, as far as time and memory allow; the best counts",
    )
    seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        10.0, description="about how long to time products for, over all precisions"
    )


def run(context: Context) -> Iterator[Yield]:
    """Yields what names the device, and its figures; of a gang, those of the slowest worker."""
    from runner.torchlib.bench import hardware, products, transfers
    from runner.torchlib.device import prepare

    params: BenchParams = context.params
    device = context.device
    prepare(device, threads=context.threads)
    precisions = products.chosen(params.precisions, device)
    for name, text in hardware.facts(device).items():
        yield Fact(name=name, text=text)
    figures = {"memory/device_gb": hardware.memory_bytes(device) / 1e9}
    steps = len(precisions) + 1
    with gang(context):
        for step, precision in enumerate(precisions):
            yield Progress(step=step, total_steps=steps, phase=precision)
            try:
                figures[products.metric_name(precision)] = products.matmul_tflops(
                    precision,
                    sizes=params.sizes,
                    seconds=params.seconds / len(precisions),
                    device=device,
                    seed=context.seed,
                )
            except Unmeasured as error:
                yield Fact(name=f"{precision} not measured", text=error.message)
        yield Progress(step=steps - 1, total_steps=steps, phase="copies")
        figures["bench/copy_gb_per_s"] = transfers.copy_gb_per_s(device)
        if device != "cpu":
            for memory in ("pinned", "pageable"):
                there, back = transfers.host_gb_per_s(device, pinned=memory == "pinned")
                figures[f"bench/host_to_device_{memory}_gb_per_s"] = there
                figures[f"bench/device_to_host_{memory}_gb_per_s"] = back
        if context.world_size > 1:
            figures = transfers.slowest(figures)
            figures["bench/all_reduce_gb_per_s"] = transfers.all_reduce_gb_per_s(device)
    yield Progress(step=steps, total_steps=steps, phase="copies")
    yield from (Metric(name=name, value=value) for name, value in figures.items())


KIND = Kind(
    name="bench",
    summary=str(BenchParams.__doc__),
    params=BenchParams,
    outputs=(),
    starter=STARTER,
    devices=("cpu", "gpu"),
    run=run,
    is_gang=True,
)
