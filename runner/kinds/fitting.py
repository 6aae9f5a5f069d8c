"""What train and distill have in common: fit a model, keep it, measure what was kept."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from runner.errors import TaskError
from runner.kinds import Yield
from runner.kinds.changing import change
from runner.kinds.division import batches_within
from runner.kinds.memory import copy_fits
from runner.kinds.parallelism import resolve_widths
from runner.kinds.teaching import TaughtDataParams, UnlabelledParams
from runner.kinds.training import DataParams, MeasuredDataParams, TrainingParams
from runner.model import Artifact, Context, Fact, Metric, Progress, Stream

if TYPE_CHECKING:
    from runner.data.dataset import Preparation
    from runner.data.models import ModelSpec
    from runner.torchlib.data import Dataset
    from runner.torchlib.engine import Engine, Model
    from runner.torchlib.objectives import Objective
    from runner.torchlib.pruning.gradual import Zeros
    from runner.torchlib.weights import Copy

CHECKPOINTS = "checkpoints"
# A collective that takes longer waits for a rank that hangs.
COLLECTIVE_LIMIT_S = 600.0


def load_data(
    data: DataParams | MeasuredDataParams,
    block_size: int,
    like: Preparation | None = None,
    *,
    stream: Stream | None = None,
    is_scaled: bool = True,
) -> Dataset:
    """The data of a task. The split does not depend on the task's seed, so that tasks compare.

    Mean and deviation are taken out of it, unless it is not to be ``is_scaled``.
    ``stream`` is what data is read with that is not to be held in memory; every rank of a gang must
    load such data.
    """
    from runner.torchlib.data import load

    if isinstance(data, DataParams) and data.stream:
        return _streamed(data, stream, like)
    return load(
        name=data.name,
        path=data.path,
        format=data.format,
        factory=data.factory,
        args=data.args,
        label=data.label,
        test_fraction=data.test_fraction,
        block_size=block_size,
        like=like,
        is_scaled=is_scaled,
        **(_of_training(data) if isinstance(data, DataParams) else {}),
    )


def _of_training(data: DataParams) -> dict[str, Any]:
    """What to load of the samples to train on, beyond what is measured on."""
    unlabelled = data.unlabelled if isinstance(data, TaughtDataParams) else None
    if isinstance(unlabelled, UnlabelledParams):
        settings = {"name", "path", "format", "factory", "args", "label"}
        return {
            "train_samples": data.train_samples,
            "unlabelled": unlabelled.model_dump(include=settings),
        }
    return {"train_samples": data.train_samples, "keeps_rest": unlabelled == "rest"}


def _streamed(data: DataParams, stream: Stream | None, like: Preparation | None) -> Dataset:
    from runner.data import look_up
    from runner.torchlib.streaming.survey import FORMATS, survey

    if stream is None:
        raise TaskError(
            "data with 'stream: true' is read by Ray Data, and this worker runs without Ray",
            hint="run it with 'runner submit', or leave 'stream' out if the data fits in memory",
        )
    path, format = look_up(str(data.path), data.format)
    if format not in FORMATS:
        raise TaskError(
            f"{path} holds {format}, and only {' and '.join(FORMATS)} can be streamed",
            hint="leave 'stream' out, or write the data as Parquet",
        )
    return survey(
        path,
        format=format,
        label=data.label,
        test_fraction=data.test_fraction,
        stream=stream,
        like=like,
    )


def fit_and_keep(
    context: Context,
    params: TrainingParams,
    objective_for: Callable[[Dataset], Objective],
    like: Preparation | None = None,
    *,
    around: Callable[[Model, Dataset], Model] | None = None,
) -> Iterator[Yield]:
    """Trains ``params.model``, writes it as the artifact ``model``, and measures it reloaded.

    With ``like``, its data is made ready in the way of a model that exists already. ``around`` puts
    around the model what is trained with it and not kept (see ``Around``). All ranks of a gang
    train; rank 0 alone keeps and measures.
    """
    from runner.torchlib import artifact
    from runner.torchlib.measure import measure_artifact

    with gang(context):
        trained = yield from _train(context, params, objective_for, like, around)
    if trained is None:
        return
    model, spec, data = trained
    yield Progress(step=1, total_steps=1, phase="measure")
    folder = context.folder / "model"
    artifact.save(folder, model, spec=spec, dataset=data)
    yield Artifact(name="model", path=folder)
    yield from measure_artifact(folder, data, threads=context.threads, device=context.device)


def _train(
    context: Context,
    params: TrainingParams,
    objective_for: Callable[[Dataset], Objective],
    like: Preparation | None,
    around: Callable[[Model, Dataset], Model] | None,
) -> Generator[Yield, None, tuple[Model, ModelSpec, Dataset] | None]:
    """The trained model and its data, on rank 0. Data that is streamed, the gang reads together."""
    from runner.data.models import ModelSpec, check_form
    from runner.torchlib.blocks import state_inside
    from runner.torchlib.models import build
    from runner.torchlib.trial import try_out

    block_size = params.model.args.get("block_size") or 128
    if params.data.stream:
        yield Progress(step=0, total_steps=1, phase="survey")
    data = load_data(params.data, block_size, like, stream=context.stream)
    if data.stream is not None:
        yield Fact(name="data", text=str(data.stream))
    spec = ModelSpec(name=params.model.name, factory=params.model.factory, args=params.model.args)
    check_form(spec, task=data.task, input_shape=data.input_shape)
    make = partial(
        build,
        name=spec.name,
        factory=spec.factory,
        args=spec.args,
        input_shape=data.input_shape,
        num_classes=len(data.classes),
        seed=context.seed,
    )
    model = make()
    try_out(model, data)
    changed = yield from change(context, params, model, data)
    whole = model if around is None else around(model, data)
    engine = _engine(context, params, whole, data, has_graphs=changed.has_graphs)
    with data.reading():
        at_peak = changed.samples_per_s_at_peak
        yield from _fit(context, params, engine, data, objective_for(data), at_peak)
    state = engine.state()
    if state is None:
        return None
    if context.world_size > 1:
        model = make()
        model.load_state_dict(state if around is None else state_inside(state))
    return model, spec, data


def gang(context: Context, *, limit_s: float = COLLECTIVE_LIMIT_S) -> AbstractContextManager[None]:
    """The process group of the context's gang; nothing for one worker.

    No rank waits longer than ``limit_s`` for another.
    """
    if context.world_size == 1:
        return nullcontext()
    from runner.torchlib.parallel.world import joined

    return joined(
        folder=context.shared,
        host=context.host,
        rank=context.rank,
        world_size=context.world_size,
        device=context.device,
        timeout_s=min(limit_s, context.timeout_s or limit_s),
    )


def tune(
    context: Context,
    params: TrainingParams,
    model: Model,
    data: Dataset,
    objective: Objective,
    zeros: Zeros | None = None,
) -> Iterator[Yield]:
    """Trains a model that there is already, in place, on this worker alone.

    ``zeros`` keep weights at zero meanwhile.
    """
    changed = yield from change(context, params, model, data)
    engine = _engine(context, params, model, data, has_graphs=changed.has_graphs)
    with data.reading():
        at_peak = changed.samples_per_s_at_peak
        yield from _fit(context, params, engine, data, objective, at_peak, zeros)


def _engine(
    context: Context, params: TrainingParams, model: Model, data: Dataset, *, has_graphs: bool
) -> Engine:
    """The model on this worker's device, or divided among the gang's."""
    from runner.torchlib.engine import Single
    from runner.torchlib.precision import Precision, resolve

    precision = Precision(resolve(params.precision, context.device), context.device)
    if context.world_size == 1:
        return Single(model, precision=precision, device=context.device, has_graphs=has_graphs)
    from runner.torchlib.measure import count_parameters
    from runner.torchlib.parallel.engine import make_engine
    from runner.torchlib.parallel.options import Options
    from runner.torchlib.parallel.world import agreed, memory_bytes

    chosen = params.parallelism
    fits = copy_fits(
        count_parameters(model),
        memory_bytes(context.device, context.world_size),
        parts=chosen.tp * chosen.pp,
    )
    widths = resolve_widths(chosen, context.world_size, copy_fits=agreed(bool(fits)))
    whole, micro, _ = batches_within(params, widths.dp, context.max_rows)
    return make_engine(
        model,
        widths=widths,
        precision=precision,
        device=context.device,
        global_batch_size=whole,
        micro_batch_size=micro,
        options=Options(
            tp_plan=chosen.tp_plan or {},
            pp_schedule=chosen.pp_schedule,
            pp_split=tuple(chosen.pp_split),
            microbatches=chosen.microbatches,
            reshard=chosen.reshard_after_forward,
            offload=chosen.cpu_offload,
        ),
        sample=data.test_inputs[0],
    )


def _fit(
    context: Context,
    params: TrainingParams,
    engine: Engine,
    data: Dataset,
    objective: Objective,
    at_peak: float | None,
    zeros: Zeros | None = None,
) -> Iterator[Yield]:
    from runner.torchlib.checkpoint import Checkpoints
    from runner.torchlib.loop import count_steps, fit
    from runner.torchlib.models import embeddings
    from runner.torchlib.optimizers import make_optimizer
    from runner.torchlib.schedules import make_schedule

    whole, micro, _ = batches_within(params, engine.share.count, context.max_rows)
    if params.per_device_batch_size == "auto":
        from runner.torchlib.batch_size import find_batch_size

        micro = find_batch_size(engine, data, objective, most=micro)
    if params.per_device_batch_size == "auto" or context.max_rows is not None:
        yield Metric(name="train/per_device_batch_size", value=micro)
    optimizer = make_optimizer(
        engine.parameters(),
        name=params.optimizer.name,
        learning_rate=params.optimizer.learning_rate,
        weight_decay=params.optimizer.weight_decay,
        momentum=params.optimizer.momentum,
        betas=params.optimizer.betas,
        embeddings=embeddings(engine.model),
    )
    average = stopping = augmentation = checkpoints = None
    copies: list[Copy] = []
    if params.ema is not None:
        from runner.torchlib.weights import Average

        average = Average(engine, decay=params.ema.decay)
        copies.append(average)
    if params.early_stopping is not None:
        from runner.torchlib.stopping import EarlyStopping

        stopping = EarlyStopping(
            engine,
            patience=params.early_stopping.patience,
            metric=params.early_stopping.metric,
            min_delta=params.early_stopping.min_delta,
        )
        copies.append(stopping.best)
    if params.augment is not None:
        from runner.torchlib.augmentation import Augmentation

        augmentation = Augmentation(
            flip=params.augment.flip, crop=params.augment.crop, cutout=params.augment.cutout
        )
    if params.checkpoint is not None:
        checkpoints = Checkpoints(
            context.shared / CHECKPOINTS,
            every_steps=params.checkpoint.every_steps,
            keep=params.checkpoint.keep,
            engine=engine,
            optimizer=optimizer,
            copies=copies,
            earlier=[folder / CHECKPOINTS for folder in context.earlier],
        )
    yield from fit(
        engine,
        data,
        objective=objective,
        optimizer=optimizer,
        schedule=make_schedule(
            optimizer,
            name=params.lr_scheduler.name,
            warmup_steps=params.lr_scheduler.warmup_steps,
            total_steps=params.max_steps
            or count_steps(
                data.train_samples, global_batch_size=whole, epochs=params.max_epochs or 1
            ),
        ),
        global_batch_size=whole,
        micro_batch_size=micro,
        max_grad_norm=params.max_grad_norm,
        seed=context.seed,
        ready_at_s=context.ready_at_s,
        checkpoints=checkpoints,
        augmentation=augmentation,
        average=average,
        stopping=stopping,
        zeros=zeros,
        samples_per_s_at_peak=None if at_peak is None else at_peak * context.world_size,
    )
