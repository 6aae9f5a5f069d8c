"""kind: evaluate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from runner.accelerators import is_custom
from runner.errors import TaskError
from runner.kinds import Kind, Makers, Yield
from runner.kinds.fitting import load_data
from runner.kinds.gates import GATES, GatesParams
from runner.kinds.training import ArtifactPath, MeasuredDataParams
from runner.model import CAVEAT, Context, Fact, Metric, Progress
from runner.parameters import Parameters

if TYPE_CHECKING:
    from runner.data.described import Described
    from runner.data.described import Framework as MadeWith

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


ON_CPU = "what PyTorch does not run is measured on a CPU; expected no accelerators"


class EvaluateParams(Parameters):
    """Measure a trained model: accuracy on held-out data, size, latency and throughput."""

    model: ArtifactPath = Field(description="the model artifact to measure")
    data: MeasuredDataParams = Field(description="what to measure on")
    gates: GatesParams | None = Field(None, description=GATES)


def run(context: Context) -> Iterator[Yield]:
    """Yields the measurements of the model as loaded from its folder.

    One that PyTorch does not run, such as a Keras model, is loaded by what does, in a process of
    its own.
    """
    from runner.data.described import read_any

    folder = Path(context.params.model)
    framework, described = read_any(folder)
    if framework == "torch" and described.form is None:
        yield from _measured_here(context, folder)
    else:
        yield from _measured_apart(context, folder, framework, described)


def _measured_here(context: Context, folder: Path) -> Iterator[Yield]:
    from runner.torchlib.artifact import check_data, load
    from runner.torchlib.device import prepare
    from runner.torchlib.measure import measure_artifact

    params: EvaluateParams = context.params
    prepare(context.device, threads=context.threads)
    loaded = load(folder)
    data = load_data(params.data, _block_size(loaded), loaded.preparation)
    check_data(loaded, data)
    yield Progress(step=0, total_steps=1, phase="measure")
    yield from measure_artifact(folder, data, threads=context.threads, device=context.device)


def _measured_apart(
    context: Context, folder: Path, framework: MadeWith, described: Described
) -> Iterator[Yield]:
    from runner.data import load
    from runner.serving.loading import OF_TENSORFLOW, format_of
    from runner.serving.measuring import measure, rows_at_once
    from runner.tflib.installed import need_tensorflow

    name = "Keras" if described.form is None else str(described.form)
    if format_of(framework, described) in OF_TENSORFLOW:
        need_tensorflow()
    if is_custom(context.device):
        about = f"measured on the CPU of a node with {context.device}, which nothing here drives"
        yield Fact(name=CAVEAT, text=about)
    elif context.device != "cpu":
        raise TaskError(f"{folder} holds a model of {name}: {ON_CPU}", hint="leave it out")
    params: EvaluateParams = context.params
    data = load(
        **params.data.model_dump(), block_size=_block_size(described), like=described.preparation
    )
    yield Progress(step=0, total_steps=1, phase="measure")
    rows = rows_at_once(data)
    (measured,) = measure([folder], data, threads=context.threads, batch_size=rows)
    yield Fact(name="runtime", text=measured.runtime)
    yield Metric(name="data/train_samples", value=described.trained_on.train_samples)
    yield Metric(name="data/test_samples", value=len(data.test_inputs))
    for metric, value in measured.metrics().items():
        yield Metric(name=metric, value=value)


def _block_size(described: Described) -> int:
    return described.input_shape[0] if described.task == "language" else 128


def check_makers(params: Any, makers: Makers) -> None:
    """Raises ValueError where a model comes from a task that makes such as can't be measured so."""
    choices = params.resources.choices()
    devices = [each for each in choices if each is not None and not is_custom(each.type or "")]
    for maker in makers.get("model", ()):
        if devices and (maker.framework != "torch" or not maker.is_model):
            theirs = "Keras" if maker.framework != "torch" else f"what {maker.kind} makes"
            raise ValueError(f"accelerators: {devices[0]} is of no use to {theirs} here: {ON_CPU}")


KIND = Kind(
    name="evaluate",
    summary=str(EvaluateParams.__doc__),
    params=EvaluateParams,
    outputs=(),
    starter=STARTER,
    devices=("cpu", "gpu", "npu", "npu-*"),
    run=run,
    check_makers=check_makers,
)
