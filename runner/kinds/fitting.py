"""What train and distill have in common: fit a model, keep it, measure what was kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from runner.kinds import Yield
from runner.kinds.training import DataParams, TrainingParams, batch_sizes
from runner.model import Artifact, Context, Progress

if TYPE_CHECKING:
    from runner.torchlib.data.dataset import Dataset
    from runner.torchlib.objectives import Objective


def load_data(data: DataParams, block_size: int) -> Dataset:
    """The data of a task. The split does not depend on the task's seed, so that tasks compare."""
    from runner.torchlib.data import load

    return load(
        name=data.name,
        path=data.path,
        format=data.format,
        factory=data.factory,
        args=data.args,
        label=data.label,
        test_fraction=data.test_fraction,
        block_size=block_size,
    )


def fit_and_keep(
    context: Context, params: TrainingParams, objective_for: Callable[[Dataset], Objective]
) -> Iterator[Yield]:
    """Trains ``params.model``, writes it as the artifact ``model``, and measures it reloaded."""
    from runner.torchlib import artifact
    from runner.torchlib.loop import count_steps, fit
    from runner.torchlib.measure import measure_artifact
    from runner.torchlib.models import ModelSpec, build
    from runner.torchlib.optimizers import make_optimizer, make_schedule

    data = load_data(params.data, params.model.args.get("block_size", 128))
    whole, micro, _ = batch_sizes(params)
    total_steps = params.max_steps or count_steps(
        len(data.train_inputs), global_batch_size=whole, epochs=params.max_epochs or 1
    )
    spec = ModelSpec(name=params.model.name, factory=params.model.factory, args=params.model.args)
    model = build(
        name=spec.name,
        factory=spec.factory,
        args=spec.args,
        input_shape=data.input_shape,
        num_classes=len(data.classes),
        seed=context.seed,
    )
    optimizer = make_optimizer(
        model.parameters(),
        name=params.optimizer.name,
        learning_rate=params.optimizer.learning_rate,
        weight_decay=params.optimizer.weight_decay,
        momentum=params.optimizer.momentum,
        betas=params.optimizer.betas,
    )
    yield from fit(
        model,
        data,
        objective=objective_for(data),
        optimizer=optimizer,
        schedule=make_schedule(
            optimizer,
            name=params.lr_scheduler.name,
            warmup_steps=params.lr_scheduler.warmup_steps,
            total_steps=total_steps,
        ),
        global_batch_size=whole,
        micro_batch_size=micro,
        max_grad_norm=params.max_grad_norm,
        seed=context.seed,
        device=context.device,
        ready_at_s=context.ready_at_s,
    )
    yield Progress(step=total_steps, total_steps=total_steps, phase="measure")
    folder = context.folder / "model"
    artifact.save(folder, model, spec=spec, dataset=data)
    yield Artifact(name="model", path=folder)
    yield from measure_artifact(folder, data, threads=context.threads, device=context.device)
