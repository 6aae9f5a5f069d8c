"""kind: evaluate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from runner.accelerators import is_custom
from runner.errors import TaskError
from runner.kinds import Kind, Makers, Yield
from runner.kinds.changeable import data_for
from runner.kinds.fitting import load_data
from runner.kinds.gates import GATES, GatesParams, check_gates
from runner.kinds.training import ArtifactPath, MeasuredDataParams, ModelParams
from runner.model import CAVEAT, Artifact, Context, Fact, Metric, Params, Progress
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

    model: ArtifactPath | ModelParams = Field(
        description="the model artifact to measure; or a factory of yours that returns a model "
        "with its weights, which becomes the artifact model for other tasks to take, and gets "
        "samples as the data has them, not standardised",
        json_schema_extra={"artifact": "model"},
    )
    data: MeasuredDataParams = Field(description="what to measure on")
    gates: GatesParams | None = Field(None, description=GATES)

    @field_validator("model")
    @classmethod
    def _is_trained(cls, model: str | ModelParams) -> str | ModelParams:
        if isinstance(model, ModelParams) and model.factory is None:
            raise ValueError(
                f"a built-in {model.name} has no trained weights to measure; expected a model "
                "artifact, or a factory that returns a trained model"
            )
        return model


def made(params: Params) -> tuple[str, ...]:
    """A model that a factory makes is kept; one that lies in a folder already is not."""
    return ("model",) if isinstance(params.get("model"), Mapping) else ()


def run(context: Context) -> Iterator[Yield]:
    """Yields the measurements of the model as loaded from its folder.

    One that PyTorch does not run, such as a Keras model, is loaded by what does, in a process of
    its own. One that a factory makes is first written to a folder, the artifact ``model``.
    """
    from runner.data.described import read_any

    if isinstance(context.params.model, ModelParams):
        yield from _taken_over(context, context.params.model)
        return
    folder = Path(context.params.model)
    framework, described = read_any(folder)
    if framework == "torch" and described.form is None:
        yield from _measured_here(context, folder)
    else:
        yield from _measured_apart(context, folder, framework, described)


def _taken_over(context: Context, params: ModelParams) -> Iterator[Yield]:
    from runner.data.models import ModelSpec
    from runner.torchlib import artifact
    from runner.torchlib.data import origin_of
    from runner.torchlib.device import prepare
    from runner.torchlib.measure import measure_artifact
    from runner.torchlib.models import build
    from runner.torchlib.trial import try_out

    prepare(context.device, threads=context.threads)
    yield Progress(step=0, total_steps=1, phase="load")
    data = load_data(context.params.data, params.args.get("block_size") or 128, is_scaled=False)
    check_gates(context.params.gates, data.task)
    spec = ModelSpec(factory=params.factory, args=params.args)
    model = build(
        factory=spec.factory,
        args=spec.args,
        input_shape=data.input_shape,
        num_classes=len(data.classes),
        seed=context.seed,
    )
    try_out(model, data)
    folder = context.folder / "model"
    # Later tasks hold out the same samples; what it was trained on, nobody here knows.
    origin = replace(origin_of(data), train_samples=0)
    artifact.save(folder, model, spec=spec, dataset=data, trained_on=origin)
    yield Artifact(name="model", path=folder)
    yield Progress(step=0, total_steps=1, phase="measure")
    yield from measure_artifact(folder, data, threads=context.threads, device=context.device)


def _measured_here(context: Context, folder: Path) -> Iterator[Yield]:
    from runner.torchlib.artifact import check_data, load
    from runner.torchlib.device import prepare
    from runner.torchlib.measure import measure_artifact

    params: EvaluateParams = context.params
    prepare(context.device, threads=context.threads)
    loaded = load(folder)
    data = load_data(params.data, loaded.block_size, loaded.preparation)
    check_data(loaded, data)
    check_gates(params.gates, data.task)
    yield Progress(step=0, total_steps=1, phase="measure")
    yield from measure_artifact(folder, data, threads=context.threads, device=context.device)


def _measured_apart(
    context: Context, folder: Path, framework: MadeWith, described: Described
) -> Iterator[Yield]:
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
    data = data_for(params.data, described)
    check_gates(params.gates, data.task)
    yield Progress(step=0, total_steps=1, phase="measure")
    rows = rows_at_once(data)
    (measured,) = measure([folder], data, threads=context.threads, batch_size=rows)
    yield Fact(name="runtime", text=measured.runtime)
    samples = described.sample_counts(len(data.test_inputs))
    for metric, value in {**samples, **measured.metrics()}.items():
        yield Metric(name=metric, value=value)


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
    outputs=("model",),
    starter=STARTER,
    devices=("cpu", "gpu", "npu", "npu-*"),
    run=run,
    check_makers=check_makers,
    made=made,
)
