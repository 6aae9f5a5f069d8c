"""kind: train."""

from __future__ import annotations

from collections.abc import Iterator

from runner.kinds import Kind, Yield
from runner.kinds.fitting import fit_and_keep
from runner.kinds.training import TrainingParams
from runner.model import Context

STARTER = """\
# Train one model. Run this file with:  runner submit FILE
name: train-digits
tasks:
  model:
    kind: train
    model: {name: mlp, args: {hidden: [256, 128]}}  # or {factory: my_module:make_model}
    data: {name: digits}                            # or {path: images/}, {path: table.csv}
    max_epochs: 10                                  # or max_steps
    global_batch_size: 64
    optimizer: {name: adamw, learning_rate: 2.0e-3}
    lr_scheduler: {name: cosine, warmup_steps: 20}
    resources: {cpus: 1}                            # or accelerators: [gpu:1, cpu], a GPU if it can
"""


class TrainParams(TrainingParams):
    """Train a model on labelled data or on text, keep it, and measure what was kept."""


def run(context: Context) -> Iterator[Yield]:
    """Trains with cross-entropy; yields the model as artifact ``model`` and its measurements."""
    from runner.torchlib.device import prepare
    from runner.torchlib.objectives import CrossEntropy

    params: TrainParams = context.params
    prepare(context.device, threads=context.threads, deterministic=params.deterministic)
    objective = CrossEntropy(label_smoothing=params.label_smoothing)
    yield from fit_and_keep(context, params, lambda data: objective)


KIND = Kind(
    name="train",
    summary=str(TrainParams.__doc__),
    params=TrainParams,
    outputs=("model",),
    starter=STARTER,
    devices=("cpu", "gpu", "npu"),
    run=run,
    is_gang=True,
)
