"""kind: distill."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from runner.kinds import Kind, Yield, keras_distill, keras_exports
from runner.kinds.fitting import fit_and_keep
from runner.kinds.gates import GATES, CompressionGatesParams
from runner.kinds.keras_exports import ExportsParams
from runner.kinds.keras_training import StrategyParams
from runner.kinds.teaching import TeachingParams
from runner.model import Context, Metric, Params

STARTER = """\
# A large model teaches a small one. Run this file with:  runner submit FILE
name: distill-digits
resources: {cpus: 1}                          # for every task
tasks:
  teacher:
    kind: train
    model: {name: convnet, args: {channels: [32, 32, 64, 64], hidden: 128, dropout: 0.3}}
    data: {name: digits}                      # or {path: images/}, {path: table.csv}
    max_epochs: 15
    global_batch_size: 128
    optimizer: {name: adamw, learning_rate: 2.0e-3}
  student:
    kind: distill
    teacher: ${tasks.teacher.outputs.model}   # a reference is a dependency
    model: {name: mlp, args: {hidden: [32]}}  # what should become of it
    data: {name: digits}
    temperature: 4.0                          # how far the teacher's answers are softened
    alpha: 0.7                                # weight of the soft (teacher) term
    max_epochs: 60
    global_batch_size: 64
    optimizer: {name: adamw, learning_rate: 5.0e-3}
"""


class DistillParams(ExportsParams, StrategyParams, TeachingParams):
    """Train a small model, the student, on the softened outputs of a trained one, the teacher."""

    framework: Literal["torch", "keras"] = Field(
        "torch",
        description="of both models; with keras, as for kind keras, what trains the student is "
        "TensorFlow under a strategy, and the teacher comes from a task of kind keras",
    )
    gates: CompressionGatesParams | None = Field(None, description=GATES)

    @model_validator(mode="after")
    def _goes_with_the_framework(self) -> DistillParams:
        keras_distill.check(self, DistillParams.model_fields)
        return self


def run(context: Context) -> Iterator[Yield]:
    """Distils; yields the student as artifact ``model``, both models' measurements and ratios."""
    if context.params.framework == "keras":
        yield from keras_distill.run(context)
        return
    from runner.kinds.taught import Teaching
    from runner.torchlib.device import prepare

    params: DistillParams = context.params
    prepare(context.device, threads=context.threads, deterministic=params.deterministic)
    teaching = Teaching(context, params)
    measured: dict[str, float] = {}
    for item in fit_and_keep(
        context,
        params,
        teaching.objective_for,
        teaching.preparation,
        around=teaching.watched if params.features or params.attention else None,
    ):
        if isinstance(item, Metric) and item.step is None:
            measured[item.name] = item.value
        yield item
    if context.rank > 0:
        return
    yield from teaching.told()
    baseline = teaching.baseline()
    for name, value in baseline.items():
        yield Metric(name=f"baseline/{name}", value=value)
    if baseline:
        yield from compression(baseline, measured)


def compression(baseline: dict[str, float], measured: dict[str, float]) -> Iterator[Metric]:
    """What shrinking won and cost: size and speed as ratios over one, accuracy lost as a fraction.

    The speed is that of one sample, ``latency/p50_ms``.
    """
    size, latency, accuracy = "size/model_mb", "latency/p50_ms", "test/accuracy"
    yield Metric(name="compression/size_ratio", value=baseline[size] / measured[size])
    yield Metric(name="compression/speedup", value=baseline[latency] / measured[latency])
    yield Metric(name="compression/accuracy_drop", value=baseline[accuracy] - measured[accuracy])


def _made(params: Params) -> tuple[str, ...]:
    """The artifacts of a task: the teacher's answers are one where they are kept on disk."""
    answers = ("logits",) if params.get("cache_teacher") == "disk" else ()
    return (*keras_exports.made(params), *answers)


KIND = Kind(
    name="distill",
    summary=str(DistillParams.__doc__),
    params=DistillParams,
    outputs=(*keras_exports.OUTPUTS, "logits"),
    starter=STARTER,
    devices=("cpu", "gpu", "tpu", "npu"),
    run=run,
    is_gang=True,
    framework=keras_distill.framework,
    resources=keras_distill.resources,
    check_makers=keras_distill.check_makers,
    made=_made,
)
