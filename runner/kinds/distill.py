"""kind: distill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from runner.kinds import Kind, Yield
from runner.kinds.fitting import fit_and_keep
from runner.kinds.training import ArtifactPath, TrainingParams
from runner.model import Context, Metric
from runner.parameters import Fraction

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


class DistillParams(TrainingParams):
    """Train a small model, the student, on the softened outputs of a trained one, the teacher."""

    teacher: ArtifactPath = Field(description="the teacher's model artifact")
    temperature: Annotated[float, Field(gt=0.0)] = Field(
        3.0, description="softens both models' outputs; their KL is weighted by its square"
    )
    alpha: Fraction = Field(
        0.7, description="weight of the soft (teacher) term; the labels weigh 1 - alpha"
    )
    cache_teacher: Literal["auto", "always", "never"] = Field(
        "auto",
        description="compute the teacher's logits once per sample and reuse them; auto does so "
        "where they fit in memory and the samples are neither augmented nor streamed",
    )

    @model_validator(mode="after")
    def _teacher_sees_what_the_student_sees(self) -> DistillParams:
        if self.augment and self.cache_teacher == "always":
            raise ValueError(
                "'cache_teacher: always' gives a student that sees augmented samples the "
                "teacher's answers to others; expected auto or never, or no 'augment'"
            )
        if self.data.stream and self.cache_teacher == "always":
            raise ValueError(
                "'cache_teacher' always keeps an answer to every sample in memory, and 'stream' is "
                "for samples that do not fit there; expected auto or never"
            )
        return self


def run(context: Context) -> Iterator[Yield]:
    """Distils; yields the student as artifact ``model``, both models' measurements and ratios."""
    from runner.torchlib.artifact import load
    from runner.torchlib.data import Dataset
    from runner.torchlib.device import prepare
    from runner.torchlib.distillation import make_objective
    from runner.torchlib.measure import measure_artifact
    from runner.torchlib.objectives import Objective

    params: DistillParams = context.params
    prepare(context.device, threads=context.threads, deterministic=params.deterministic)
    teacher_folder = Path(params.teacher)
    teacher = load(teacher_folder)
    measured: dict[str, float] = {}
    seen: list[Dataset] = []

    def objective_for(data: Dataset) -> Objective:
        seen.append(data)
        return make_objective(
            teacher,
            data,
            temperature=params.temperature,
            alpha=params.alpha,
            label_smoothing=params.label_smoothing,
            cache="never" if params.augment else params.cache_teacher,
            device=context.device,
        )

    for item in fit_and_keep(context, params, objective_for, teacher.preparation):
        if isinstance(item, Metric) and item.step is None:
            measured[item.name] = item.value
        yield item
    if context.rank > 0:
        return
    # The teacher is measured here and not where it was trained: same process, same load.
    baseline = {
        metric.name: metric.value
        for metric in measure_artifact(
            teacher_folder, seen[0], threads=context.threads, device=context.device
        )
        if metric.name != "memory/peak_mb" and not metric.name.startswith("data/")
    }
    for name, value in baseline.items():
        yield Metric(name=f"baseline/{name}", value=value)
    yield from compression(baseline, measured)


def compression(baseline: dict[str, float], measured: dict[str, float]) -> Iterator[Metric]:
    """What shrinking won and cost: size and speed as ratios over one, accuracy lost as a fraction.

    The speed is that of one sample, ``latency/p50_ms``.
    """
    size, latency, accuracy = "size/model_mb", "latency/p50_ms", "test/accuracy"
    yield Metric(name="compression/size_ratio", value=baseline[size] / measured[size])
    yield Metric(name="compression/speedup", value=baseline[latency] / measured[latency])
    yield Metric(name="compression/accuracy_drop", value=baseline[accuracy] - measured[accuracy])


KIND = Kind(
    name="distill",
    summary=str(DistillParams.__doc__),
    params=DistillParams,
    outputs=("model",),
    starter=STARTER,
    devices=("cpu", "gpu"),
    run=run,
    is_gang=True,
)
