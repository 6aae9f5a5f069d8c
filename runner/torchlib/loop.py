"""The training loop: one generator that trains a model and yields what there is to know of it."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer

from runner.errors import TaskError
from runner.model import Fact, Metric, Progress
from runner.torchlib.batch_size import Backward
from runner.torchlib.batches import Batching, derive_seed
from runner.torchlib.data import Dataset
from runner.torchlib.engine import Engine
from runner.torchlib.losses import Losses
from runner.torchlib.measure import Score
from runner.torchlib.objectives import Objective
from runner.torchlib.schedules import Schedule
from runner.torchlib.stopwatch import Stopwatch
from runner.torchlib.transfer import settle
from runner.torchlib.windows import source_of

if TYPE_CHECKING:
    from runner.torchlib.augmentation import Augmentation
    from runner.torchlib.checkpoint import Checkpoints
    from runner.torchlib.pruning.gradual import Zeros
    from runner.torchlib.stopping import EarlyStopping
    from runner.torchlib.weights import Average

_MAX_POINTS = 200
_MAX_EVALUATIONS = 50


def count_steps(samples: int, *, global_batch_size: int, epochs: int) -> int:
    """The optimizer steps of ``epochs`` passes over ``samples`` samples."""
    return epochs * math.ceil(samples / global_batch_size)


def fit(
    engine: Engine,
    data: Dataset,
    *,
    objective: Objective,
    optimizer: Optimizer,
    schedule: Schedule,
    global_batch_size: int,
    micro_batch_size: int | None = None,
    max_grad_norm: float | None = None,
    seed: int = 0,
    ready_at_s: float | None = None,
    checkpoints: Checkpoints | None = None,
    augmentation: Augmentation | None = None,
    average: Average | None = None,
    stopping: EarlyStopping | None = None,
    zeros: Zeros | None = None,
    samples_per_s_at_peak: float | None = None,
) -> Iterator[Metric | Progress | Fact]:
    """Trains the engine's model in place for ``schedule.total_steps`` steps, or until ``stopping``.

    Each step follows the gradient of the mean loss over the targets of ``global_batch_size``
    samples (what is left at the end of an epoch makes a shorter step), which all ranks share. With
    ``micro_batch_size`` a rank takes its part in portions and adds the gradients up: same mean,
    less memory. With an ``average`` it is this that is evaluated and that the model ends with; with
    ``stopping`` the model ends with what was best of all that was evaluated. ``zeros`` keep weights
    at zero that are pruned.

    Yields at fixed steps ``train/loss``, the mean since its last point, at most 200 times, and at
    ends of epochs ``test/loss`` and ``test/accuracy``, at most 50 times, the last after the last
    step; these are the same on every rank. Yields once ``time/first_step_s``, from ``ready_at_s``
    (Unix time) to the end of the first step, and ``train/samples_per_s`` (of all ranks) and
    ``train/step_ms`` over the time spent in steps; the first, which pays for what happens only
    once, is left out of these. With ``samples_per_s_at_peak`` (of all devices) also ``train/mfu``,
    with fp16 ``train/skipped_steps``, where portions were cut as memory ran out
    ``train/per_device_batch_size``, with ``stopping`` ``train/best_step`` and, where it ended the
    training, ``train/stopped_at_step``. Progress comes at most twice a second. The same seed on the
    same number of ranks and threads gives the same weights to the last bit.

    Raises TaskError if the model's outputs don't fit the data, or a loss is not finite.
    """
    samples = data.train_samples
    targets_per_sample = data.train_targets[0].numel()
    total_steps = schedule.total_steps
    steps_per_epoch = math.ceil(samples / global_batch_size)
    epochs = math.ceil(total_steps / steps_per_epoch)
    point_interval = math.ceil(total_steps / _MAX_POINTS)
    evaluation_interval = math.ceil(epochs / _MAX_EVALUATIONS)

    train_inputs, train_targets, test_inputs, test_targets, *extra = settle(
        (
            data.train_inputs,
            data.train_targets,
            data.test_inputs,
            data.test_targets,
            *objective.columns,
        ),
        engine.device,
    )
    in_memory = (train_inputs, train_targets, *extra)
    data = replace(data, test_inputs=test_inputs, test_targets=test_targets)
    if augmentation is not None:
        augmentation.check(data)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    losses = Losses(engine)
    backward = Backward(engine)
    scaler = engine.precision.scaler
    generators = _generators(engine.device)
    first_seed = derive_seed(seed, "model", engine.share.index) >> 1
    watch = Stopwatch(engine.device)
    step = timed_samples = timed_steps = 0
    is_first = True
    resumed = None if checkpoints is None else checkpoints.restore()
    if resumed is not None:
        step = resumed.step
        losses.restore(resumed.notes)
        if stopping is not None:
            stopping.restore(resumed.notes)
        yield Metric(name="checkpoint/resumed_at_step", value=step)

    if zeros is not None:
        zeros.update(step)

    def is_evaluated(epoch: int) -> bool:
        return epoch % evaluation_interval == 0 or step == total_steps

    def notes() -> dict[str, Any]:
        return {**losses.notes(), **({} if stopping is None else stopping.notes())}

    def evaluate() -> Generator[Metric, None, bool]:
        """Yields the score; whether the training is to end with it."""
        with nullcontext() if average is None else average.in_place():
            held_out = _score(engine, data, step=step)
            is_enough = stopping is not None and stopping.see(held_out, step)
        yield Metric(name="test/loss", value=held_out.loss, step=step)
        yield Metric(name="test/accuracy", value=held_out.accuracy, step=step)
        return is_enough

    windows = source_of(
        data,
        in_memory,
        batching=Batching(
            global_batch_size=global_batch_size,
            micro_batch_size=micro_batch_size or global_batch_size // engine.share.count,
            share=engine.share,
            is_padded=engine.is_padded,
        ),
        seed=seed,
        epochs=epochs,
        device=engine.device,
        layout=engine.layout,
        augmentation=augmentation,
    )
    is_over = step == total_steps
    if step and (step % steps_per_epoch == 0 or is_over) and is_evaluated(step // steps_per_epoch):
        # The checkpoint was written between the epoch's last step and what follows it.
        is_enough = yield from evaluate()
        is_over = is_over or is_enough
    for epoch in () if is_over else range(step // steps_per_epoch, epochs):
        engine.model.train()
        watch.start()
        for window in windows(epoch, step - epoch * steps_per_epoch):
            # For dropout: the randomness of a step depends on nothing that ran before it, so that a
            # resumed run draws what the whole one would have.
            for generator in generators:
                generator.manual_seed(first_seed + step)
            schedule.apply(step)
            count = window.samples * targets_per_sample
            losses.add(step, backward(window.portions, objective, count, len(data.classes)), count)
            if scaler is not None:
                scaler.unscale_(optimizer)
                engine.agree_on_overflow(optimizer)
            if max_grad_norm is not None:
                engine.clip(parameters, max_grad_norm)
            if scaler is None:
                optimizer.step()
            else:
                engine.precision.step(optimizer)
            for parameter in parameters:
                parameter.grad = None
            step += 1
            if zeros is not None:
                zeros.update(step)
            if average is not None:
                average.update(step)
            timed_samples += window.samples
            timed_steps += 1

            is_point = step % point_interval == 0 or step == total_steps
            is_progress = watch.is_progress_due()
            if is_point or is_progress or is_first:
                watch.pause()
                # Ranks look at the time for themselves, so only at points may they speak to others.
                if is_point:
                    losses.close(step)
                if is_first and ready_at_s is not None:
                    yield Metric(name="time/first_step_s", value=time.time() - ready_at_s)
                if is_first and step < total_steps:
                    watch.seconds = timed_samples = timed_steps = 0
                for at_step, mean_loss in losses.points(is_last=step == total_steps):
                    yield Metric(name="train/loss", value=mean_loss, step=at_step)
                if is_progress:
                    yield Progress(
                        step=step,
                        total_steps=total_steps,
                        epoch=step / steps_per_epoch,
                        samples_per_s=timed_samples / watch.seconds if timed_steps else None,
                        loss=losses.recent(),
                    )
                is_first = False
                watch.start()
            if checkpoints is not None:
                checkpoints.save_if_due(step, notes)
                yield from _told(checkpoints)
            if step == total_steps:
                break
        watch.pause()
        if is_evaluated(epoch + 1) and (yield from evaluate()):
            break
    for at_step, mean_loss in losses.points(is_last=True):
        yield Metric(name="train/loss", value=mean_loss, step=at_step)
    if checkpoints is not None:
        checkpoints.finish()
        yield from _told(checkpoints)
    if stopping is not None:
        yield from stopping.end(step, total_steps)
    elif average is not None:
        average.put()
    if backward.parts > 1:
        micro = micro_batch_size or global_batch_size // engine.share.count
        yield Metric(name="train/per_device_batch_size", value=math.ceil(micro / backward.parts))
    if timed_steps:
        yield Metric(name="train/samples_per_s", value=timed_samples / watch.seconds)
        yield Metric(name="train/step_ms", value=1e3 * watch.seconds / timed_steps)
        if samples_per_s_at_peak is not None:
            rate = timed_samples / watch.seconds
            yield Metric(name="train/mfu", value=rate / samples_per_s_at_peak)
    if scaler is not None:
        yield Metric(name="train/skipped_steps", value=engine.precision.skipped_steps)


def _told(checkpoints: Checkpoints) -> Iterator[Fact]:
    while checkpoints.problems:
        yield Fact(name="checkpoints", text=checkpoints.problems.pop(0))


def _generators(device: str) -> list[torch.Generator]:
    """What models draw from: torch.manual_seed would also set that of every other device."""
    found = [torch.default_generator]
    kind, index = torch.device(device).type, torch.device(device).index
    if kind in ("cuda", "npu"):
        module = torch.get_device_module(kind)
        # Asked in any case, as there are no generators before CUDA has started.
        current = module.current_device()
        found.append(module.default_generators[current if index is None else index])
    return found


def _score(engine: Engine, data: Dataset, *, step: int) -> Score:
    held_out = engine.score(data)
    if not math.isfinite(held_out.loss):
        raise TaskError(
            f"the loss on the held-out data was {held_out.loss} after step {step}",
            hint="lower the learning rate, or add warmup_steps or max_grad_norm",
        )
    return held_out
