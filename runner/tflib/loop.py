"""The training loop: one generator that trains a Keras model and yields what there is to know."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from runner.data.dataset import Dataset
from runner.errors import TaskError
from runner.model import Metric, Progress
from runner.tflib.checkpoint import Checkpoints

_MAX_POINTS = 200
_MAX_EVALUATIONS = 50
_PROGRESS_INTERVAL_S = 0.5
# How long a call of several steps should take: what happens meanwhile is told only afterwards.
_CALL_S = 0.25


class Steps(Protocol):
    """Optimizer steps of a model, taken many at once."""

    def feed(self, data: Dataset, *, seed: int, first_step: int, total_steps: int) -> None:
        """Begins to take batches from ``data``."""

    def run(self, count: int) -> Any:
        """The losses of the next ``count`` steps, each the mean over its samples' targets."""

    def mean(self, value: float) -> float:
        """The mean of what every process of a gang gives, the same in all of them."""


class Scores(Protocol):
    """The score of a model on held-out data."""

    def score(self) -> tuple[float, float]:
        """Mean cross-entropy in nats, and the part of targets whose class has the highest logit."""


def count_steps(samples: int, *, global_batch_size: int, epochs: int) -> int:
    """The optimizer steps of ``epochs`` passes over ``samples`` samples."""
    return epochs * math.ceil(samples / global_batch_size)


def fit(
    steps: Steps,
    scores: Scores,
    data: Dataset,
    *,
    global_batch_size: int,
    total_steps: int,
    seed: int = 0,
    ready_at_s: float | None = None,
    checkpoints: Checkpoints | None = None,
) -> Iterator[Metric | Progress]:
    """Trains in place for ``total_steps`` steps; yields what ``runner.torchlib.loop.fit`` does.

    That is ``train/loss``, the mean since its last point, at most 200 times; ``test/loss`` and
    ``test/accuracy`` at ends of epochs, at most 50 times, the last after the last step; once
    ``time/first_step_s``, ``train/samples_per_s`` and ``train/step_ms``, of which the last two
    leave out the first step, which pays for tracing; Progress at most twice a second. With
    ``checkpoints``, and one from before, it goes on from there, yields
    ``checkpoint/resumed_at_step``, and ends with the very weights of a training that never stopped.

    Raises TaskError if a loss is not finite.
    """
    samples = len(data.train_inputs)
    steps_per_epoch = math.ceil(samples / global_batch_size)
    epochs = math.ceil(total_steps / steps_per_epoch)
    point_interval = math.ceil(total_steps / _MAX_POINTS)
    evaluation_interval = math.ceil(epochs / _MAX_EVALUATIONS)
    left_over = samples - (steps_per_epoch - 1) * global_batch_size

    def samples_in(step: int) -> int:
        """Of the step with that number, counted from 1."""
        return global_batch_size if step % steps_per_epoch else left_over

    def is_evaluated(step: int) -> bool:
        epoch, rest = divmod(step, steps_per_epoch)
        return step == total_steps or (rest == 0 and epoch % evaluation_interval == 0)

    points = _Points()
    step = timed_steps = timed_samples = 0
    resumed = None if checkpoints is None else checkpoints.restore()
    if resumed is not None:
        step, notes = resumed
        points.restore(notes)
        yield Metric(name="checkpoint/resumed_at_step", value=step)
        if is_evaluated(step):
            # The checkpoint was written between the step and what follows it.
            yield from _evaluated(scores, step)
    first_step = step
    steps.feed(data, seed=seed, first_step=step, total_steps=total_steps)
    seconds = 0.0
    at_once = 1
    next_progress_s = time.perf_counter() + _PROGRESS_INTERVAL_S
    while step < total_steps:
        epoch_end = (step // steps_per_epoch + 1) * steps_per_epoch
        count = min(at_once, epoch_end - step, total_steps - step)
        if checkpoints is not None:
            count = min(count, checkpoints.steps_left(step))
        started = time.perf_counter()
        losses = steps.run(count)
        # How many steps the next call has, ranks have to agree on.
        took = steps.mean(time.perf_counter() - started)
        _check(losses, step)
        is_first = step == first_step
        for loss in losses:
            step += 1
            points.add(float(loss), samples_in(step))
            if step % point_interval == 0 or step == total_steps:
                yield Metric(name="train/loss", value=points.take(), step=step)
        if is_first and ready_at_s is not None:
            yield Metric(name="time/first_step_s", value=time.time() - ready_at_s)
        if not is_first or step == total_steps:
            seconds += took
            timed_steps += count
            timed_samples += sum(samples_in(n) for n in range(step - count + 1, step + 1))
            if count == at_once and took < _CALL_S:
                at_once *= 2
            elif took > 2 * _CALL_S:
                at_once = max(1, at_once // 2)
        if checkpoints is not None:
            checkpoints.save_if_due(step, points.notes())
        if time.perf_counter() >= next_progress_s:
            next_progress_s = time.perf_counter() + _PROGRESS_INTERVAL_S
            yield Progress(
                step=step,
                total_steps=total_steps,
                epoch=step / steps_per_epoch,
                samples_per_s=timed_samples / seconds if timed_steps else None,
                loss=points.last,
            )
        if is_evaluated(step):
            yield from _evaluated(scores, step)
    if timed_steps:
        yield Metric(name="train/samples_per_s", value=timed_samples / seconds)
        yield Metric(name="train/step_ms", value=1e3 * seconds / timed_steps)


def _evaluated(scores: Scores, step: int) -> Iterator[Metric]:
    loss, accuracy = scores.score()
    if not math.isfinite(loss):
        raise TaskError(
            f"the loss on the held-out data was {loss} after step {step}",
            hint="lower the learning rate, or add warmup_steps or max_grad_norm",
        )
    yield Metric(name="test/loss", value=loss, step=step)
    yield Metric(name="test/accuracy", value=accuracy, step=step)


def _check(losses: Any, before: int) -> None:
    wrong = np.flatnonzero(~np.isfinite(losses))
    if len(wrong):
        first = int(wrong[0])
        raise TaskError(
            f"the loss was {losses[first]} in step {before + first + 1}",
            hint="lower the learning rate, add warmup_steps or max_grad_norm, or look for values "
            "in the data that are not finite",
        )


class _Points:
    """The mean loss since the last point, over samples."""

    def __init__(self) -> None:
        self.last: float | None = None
        self._sum, self._samples = 0.0, 0

    def add(self, loss: float, samples: int) -> None:
        """A step's mean loss over its samples."""
        self._sum += loss * samples
        self._samples += samples
        self.last = loss

    def notes(self) -> dict[str, float]:
        """What a resumed run has to know to give the same points."""
        return {"loss_sum": self._sum, "samples": self._samples}

    def restore(self, notes: Mapping[str, float]) -> None:
        """Takes up what ``notes`` gave."""
        self._sum, self._samples = notes["loss_sum"], int(notes["samples"])

    def take(self) -> float:
        """The mean since this was last asked."""
        mean = self._sum / self._samples
        self._sum, self._samples = 0.0, 0
        return mean
