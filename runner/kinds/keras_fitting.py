"""What keras and distill with Keras have in common: a strategy, and a model fitted under it, kept
and measured.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Any

from runner.kinds import Yield, keras_exports
from runner.kinds.fitting import CHECKPOINTS, COLLECTIVE_LIMIT_S
from runner.kinds.keras_training import KerasParams
from runner.model import CAVEAT, Artifact, Context, Fact, Metric, Progress

if TYPE_CHECKING:
    from runner.data.dataset import Dataset, Preparation
    from runner.tflib.gang import Gang
    from runner.tflib.hosts import TpuSlice
    from runner.tflib.objectives import Objective
    from runner.tflib.portions import Portions
    from runner.tflib.strategy import Decision
    from runner.tflib.tpu import TpuAddress


def ready(
    context: Context, params: KerasParams, tpu_slice: TpuSlice | None = None
) -> Generator[Yield, None, tuple[Decision, TpuAddress]]:
    """Loads TensorFlow for what the task is to run under, which it decides, and yields that.

    A rank that does not take part in it loads nothing. Raises TaskError where TensorFlow is not
    installed, or a TPU is wanted and there is none.
    """
    from runner.tflib.installed import need_tensorflow, prepare

    yield Fact(name="tensorflow", text=need_tensorflow())
    decision, address = _decide(context, params, tpu_slice)
    yield from told(decision)
    if takes_part(context, decision):
        prepare(
            threads=context.threads,
            replicas=decision.replicas if decision.strategy == "mirrored" else 1,
            skip_metadata=decision.strategy != "tpu",
            leave_chips=decision.strategy == "tpu" and address.name != "local",
        )
    return decision, address


def takes_part(context: Context, decision: Decision) -> bool:
    """Whether this rank trains: all do under multi_worker, and else the first, by itself."""
    return context.rank == 0 or decision.strategy == "multi_worker"


def on_slice(context: Context) -> AbstractContextManager[TpuSlice | None]:
    """The TPU slice of a gang, a rank on each of its hosts; None where there is none."""
    gang = gang_of(context)
    if gang is None or context.device != "tpu":
        return nullcontext()
    from runner.tflib.hosts import joined

    return joined(gang)


def told(decision: Decision) -> Iterator[Fact]:
    """What is said of a decision; of one that takes a TPU's place, what the report begins with."""
    yield Fact(name="strategy", text=f"{decision.strategy}, {decision.reason}")
    if decision.instead_of_tpu is not None:
        yield Fact(
            name=CAVEAT,
            text=f"{_place(decision)} and not on a TPU, as {decision.instead_of_tpu}",
        )


def _decide(
    context: Context, params: KerasParams, tpu_slice: TpuSlice | None
) -> tuple[Decision, TpuAddress]:
    from runner.tflib.probe import probe, without_asking
    from runner.tflib.strategy import decide, wants_tpu
    from runner.tflib.tpu import TpuAddress

    named = params.tpu
    address = TpuAddress() if named is None else TpuAddress(**named.model_dump())
    on_tpu_node = context.device == "tpu" or named is not None
    found = None
    if tpu_slice is not None:
        found, address = tpu_slice.finding, tpu_slice.address
    elif wants_tpu(params.strategy, on_tpu_node=on_tpu_node):
        found = probe(address) if on_tpu_node else without_asking()
    decision = decide(
        params.strategy,
        fallback=params.fallback,
        replicas=params.replicas,
        workers=context.world_size,
        on_tpu_node=on_tpu_node,
        found=found,
    )
    return decision, address


def gang_of(context: Context) -> Gang | None:
    """How this rank finds the others; None for a worker alone."""
    from runner.tflib.gang import Gang

    if context.world_size == 1:
        return None
    return Gang(
        rank=context.rank,
        world_size=context.world_size,
        folder=context.shared,
        host=context.host,
        timeout_s=min(COLLECTIVE_LIMIT_S, context.timeout_s or COLLECTIVE_LIMIT_S),
    )


def _place(decision: Decision) -> str:
    """Where a decision that is no TPU runs, in words."""
    return f"{decision.replicas} replicas on one CPU" if decision.replicas > 1 else "one CPU"


def measuring_device(decision: Decision) -> str:
    """TensorFlow's name of the one device that a model is measured on."""
    return "/tpu:0" if decision.strategy == "tpu" else "/cpu:0"


def by_labels(params: KerasParams) -> Callable[[Dataset], Objective]:
    """What makes the objective of a training without a teacher, for its data."""

    def objective_for(data: Dataset) -> Objective:
        from runner.tflib.objectives import CrossEntropy

        return CrossEntropy(label_smoothing=params.label_smoothing)

    return objective_for


def fit_and_keep(
    context: Context,
    params: KerasParams,
    decision: Decision,
    strategy: Any,
    objective_for: Callable[[Dataset], Objective],
    like: Preparation | None = None,
) -> Iterator[Yield]:
    """Trains ``params.model``, writes it as the artifact ``model``, and measures it reloaded.

    With ``like``, its data is made ready in the way of a model that exists already. All ranks of a
    gang train; rank 0 alone keeps and measures.
    """
    from runner.data import load
    from runner.data.models import ModelSpec
    from runner.tflib import artifact
    from runner.tflib.models import build
    from runner.tflib.portions import Portions

    data = load(
        **params.data.model_dump(exclude={"stream"}),
        block_size=params.model.args.get("block_size") or 128,
        like=like,
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
    if context.rank == 0:
        keras_exports.try_out(params, spec, data, seed=context.seed)
    with strategy.scope():
        model = build(spec, data, seed=context.seed, precision=precision)
    yield from _fit(context, params, strategy, data, model, portions, objective_for(data))
    if context.rank > 0:
        return
    yield Progress(step=1, total_steps=1, phase="measure")
    # A copy outside of the strategy and in full precision is what is kept.
    kept = build(spec, data, seed=context.seed)
    kept.set_weights(model.get_weights())
    folder = context.folder / "model"
    artifact.save(folder, kept, spec=spec, dataset=data)
    yield Artifact(name="model", path=folder)
    measure = _library(params, "measure")
    yield from measure.measure_artifact(folder, data, device=measuring_device(decision))
    yield from keras_exports.keep(context, params, kept, spec, data)


def _library(params: KerasParams, name: str) -> Any:
    """The module of that name, of which there is one for each of Keras's backends."""
    package = "runner.tflib.on_jax" if params.backend == "jax" else "runner.tflib"
    return import_module(f"{package}.{name}")


def _fit(
    context: Context,
    params: KerasParams,
    strategy: Any,
    data: Dataset,
    model: Any,
    portions: Portions,
    objective: Objective,
) -> Iterator[Yield]:
    from runner.schedules import Shape
    from runner.tflib.checkpoint import Checkpoints
    from runner.tflib.loop import count_steps, fit
    from runner.tflib.optimizers import make_optimizer

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
            is_writer=context.rank == 0,
        )
    library = _library(params, "steps")
    steps = library.Steps(
        strategy,
        model,
        optimizer,
        portions,
        objective=objective,
        max_grad_norm=params.max_grad_norm,
        l2=0.0 if chosen.name == "adamw" else chosen.weight_decay,
    )
    yield from fit(
        steps,
        library.Scores(strategy, model, data),
        data,
        global_batch_size=params.global_batch_size,
        total_steps=total_steps,
        seed=context.seed,
        ready_at_s=context.ready_at_s,
        checkpoints=checkpoints,
    )
