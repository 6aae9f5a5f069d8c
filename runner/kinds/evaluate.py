"""kind: evaluate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from runner.kinds import Kind, Yield
from runner.kinds.fitting import load_data
from runner.kinds.training import ArtifactPath, MeasuredDataParams
from runner.model import Context, Progress
from runner.parameters import Parameters

STARTER = """\
# Measure a model on data. Run this file with:  runner submit FILE
name: evaluate-digits
tasks:
  model:
    kind: train
    model: {name: mlp, args: {hidden: [64]}}
    data: {name: digits}
    max_epochs: 10
  check:
    kind: evaluate
    model: ${tasks.model.outputs.model}   # or the folder of a model artifact of an earlier run
    data: {name: digits}                  # its held-out part; of {path: new.csv}, all rows
    resources: {cpus: 1}
"""


class EvaluateParams(Parameters):
    """Measure a trained model: accuracy on held-out data, size, latency and throughput."""

    model: ArtifactPath = Field(description="the model artifact to measure")
    data: MeasuredDataParams = Field(description="what to measure on")


def run(context: Context) -> Iterator[Yield]:
    """Yields the measurements of the model as loaded from its folder."""
    from runner.torchlib.artifact import check_data, load
    from runner.torchlib.device import prepare
    from runner.torchlib.measure import measure_artifact

    params: EvaluateParams = context.params
    prepare(context.device, threads=context.threads)
    folder = Path(params.model)
    loaded = load(folder)
    is_language = loaded.task == "language"
    block_size = loaded.input_shape[0] if is_language else 128
    data = load_data(params.data, block_size, loaded.preparation)
    check_data(loaded, data)
    yield Progress(step=0, total_steps=1, phase="measure")
    yield from measure_artifact(folder, data, threads=context.threads, device=context.device)


KIND = Kind(
    name="evaluate",
    summary=str(EvaluateParams.__doc__),
    params=EvaluateParams,
    outputs=(),
    starter=STARTER,
    devices=("cpu", "gpu"),
    run=run,
)
