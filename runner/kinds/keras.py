"""kind: keras."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from runner.kinds import Kind, Yield
from runner.kinds.fitting import CHECKPOINTS
from runner.kinds.keras_training import KerasParams, resources
from runner.model import CAVEAT, Artifact, Context, Fact, Metric, Progress

if TYPE_CHECKING:
    from runner.data.dataset import Dataset
    from runner.tflib.feeding import Portions
    from runner.tflib.strategy import Decision
    from runner.tflib.tpu import TpuAddress

STARTER = """\
# Train a Keras model, on a TPU where there is one. Run this file with:  runner submit FILE
name: keras-digits
tasks:
  model:
    kind: keras
    strategy: tpu
    fallback: [one_device]         # where no TPU is; [] to have one or nothing
    model: {name: mlp, args: {hidden: [256, 128], dropout: 0.3}}
    data: {name: digits}
    max_epochs: 10
    global_batch_size: 64
    optimizer: {name: adamw, learning_rate: 2.0e-3}
    resources: {cpus: 1, accelerators: tpu:1}
"""


def run(context: Context) -> Iterator[Yield]:
    """Trains under the strategy that is decided here; yields the model and its measurements."""
    from runner.tflib.installed import need_tensorflow, prepare
    from runner.tflib.strategy import running

    params: KerasParams = context.params
    yield Fact(name="tensorflow", text=need_tensorflow())
    decision, address = _decide(context, params)
    yield Fact(name="strategy", text=f"{decision.strategy}, {decision.reason}")
    if decision.instead_of_tpu is not None:
        yield Fact(
            name=CAVEAT,
            text=f"{_place(decision)} and not on a TPU, as {decision.instead_of_tpu}",
        )
    is_tpu = decision.strategy == "tpu"
    prepare(
        threads=context.threads,
        replicas=1 if is_tpu else decision.replicas,
        skip_metadata=not is_tpu,
    )
    with running(decision, address=address) as strategy:
        yield from _fit_and_keep(context, params, decision, strategy)


def _decide(context: Context, params: KerasParams) -> tuple[Decision, TpuAddress]:
    from runner.tflib.probe import probe, without_asking
    from runner.tflib.strategy import decide, wants_tpu
    from runner.tflib.tpu import TpuAddress

    named = params.tpu
    address = TpuAddress() if named is None else TpuAddress(**named.model_dump())
    on_tpu_node = context.device == "tpu" or named is not None
    found = None
    if wants_tpu(params.strategy, on_tpu_node=on_tpu_node):
        found = probe(address) if on_tpu_node else without_asking()
    decision = decide(
        params.strategy,
        fallback=params.fallback,
        replicas=params.replicas,
        on_tpu_node=on_tpu_node,
        found=found,
    )
    return decision, address


def _place(decision: Decision) -> str:
    """Where a decision that is no TPU runs, in words."""
    return f"{decision.replicas} replicas on one CPU" if decision.replicas > 1 else "one CPU"


def _fit_and_keep(
    context: Context, params: KerasParams, decision: Decision, strategy: Any
) -> Iterator[Yield]:
    from runner.data import load
    from runner.data.models import ModelSpec
    from runner.tflib import artifact
    from runner.tflib.feeding import Portions
    from runner.tflib.measure import measure_artifact
    from runner.tflib.models import build

    data = load(
        **params.data.model_dump(exclude={"stream"}),
        block_size=params.model.args.get("block_size") or 128,
    )
    spec = ModelSpec(name=params.model.name, factory=params.model.factory, args=params.model.args)
    portions = Portions(
        samples=params.global_batch_size,
        passes=params.gradient_accumulation_steps,
        replicas=decision.replicas,
    )
    yield Metric(name="train/replicas", value=decision.replicas)
    yield Metric(name="train/per_replica_batch_size", value=portions.rows)
    precision = params.precision
    if precision == "auto":
        precision = "bf16-mixed" if decision.strategy == "tpu" else "fp32"
    with strategy.scope():
        model = build(spec, data, seed=context.seed, precision=precision)
    yield from _fit(context, params, strategy, data, model, portions)
    yield Progress(step=1, total_steps=1, phase="measure")
    # A copy outside of the strategy and in full precision is what is kept.
    kept = build(spec, data, seed=context.seed)
    kept.set_weights(model.get_weights())
    folder = context.folder / "model"
    artifact.save(folder, kept, spec=spec, dataset=data)
    yield Artifact(name="model", path=folder)
    device = "/tpu:0" if decision.strategy == "tpu" else "/cpu:0"
    yield from measure_artifact(folder, data, device=device)


def _fit(
    context: Context,
    params: KerasParams,
    strategy: Any,
    data: Dataset,
    model: Any,
    portions: Portions,
) -> Iterator[Yield]:
    from runner.schedules import Shape
    from runner.tflib.checkpoint import Checkpoints
    from runner.tflib.loop import count_steps, fit
    from runner.tflib.optimizers import make_optimizer
    from runner.tflib.steps import Scores, Steps

    total_steps = params.max_steps or count_steps(
        len(data.train_inputs),
        global_batch_size=params.global_batch_size,
        epochs=params.max_epochs or 1,
    )
    chosen, scheduler = params.optimizer, params.lr_scheduler
    shape = Shape(name=scheduler.name, warmup_steps=scheduler.warmup_steps, total_steps=total_steps)
    shape.check()
    with strategy.scope():
        optimizer = make_optimizer(
            model.trainable_variables,
            name=chosen.name,
            learning_rate=chosen.learning_rate,
            weight_decay=chosen.weight_decay,
            momentum=chosen.momentum,
            betas=chosen.betas,
            schedule=shape,
        )
    checkpoints = None
    if params.checkpoint is not None:
        checkpoints = Checkpoints(
            context.shared / CHECKPOINTS,
            every_steps=params.checkpoint.every_steps,
            keep=params.checkpoint.keep,
            model=model,
            optimizer=optimizer,
            earlier=[folder / CHECKPOINTS for folder in context.earlier],
        )
    steps = Steps(
        strategy,
        model,
        optimizer,
        portions,
        label_smoothing=params.label_smoothing,
        max_grad_norm=params.max_grad_norm,
        l2=0.0 if chosen.name == "adamw" else chosen.weight_decay,
    )
    yield from fit(
        steps,
        Scores(strategy, model, data),
        data,
        global_batch_size=params.global_batch_size,
        total_steps=total_steps,
        seed=context.seed,
        ready_at_s=context.ready_at_s,
        checkpoints=checkpoints,
    )


KIND = Kind(
    name="keras",
    summary=str(KerasParams.__doc__),
    params=KerasParams,
    outputs=("model",),
    starter=STARTER,
    devices=("cpu", "tpu"),
    run=run,
    framework="tensorflow",
    resources=resources,
)
