"""The training loop: one generator that trains a model and yields what there is to know of it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from runner.errors import TaskError
from runner.model import Metric, Progress
from runner.torchlib.batches import derive_seed, epoch_windows
from runner.torchlib.data.dataset import Dataset
from runner.torchlib.layout import place
from runner.torchlib.measure import score
from runner.torchlib.objectives import Objective
from runner.torchlib.optimizers import Schedule
from runner.torchlib.stopwatch import Stopwatch

_MAX_POINTS = 200
_MAX_EVALUATIONS = 50


def count_steps(samples: int, *, global_batch_size: int, epochs: int) -> int:
    """The optimizer steps of ``epochs`` passes over ``samples`` samples."""
    return epochs * math.ceil(samples / global_batch_size)


def fit(
    model: nn.Module,
    data: Dataset,
    *,
    objective: Objective,
    optimizer: Optimizer,
    schedule: Schedule,
    global_batch_size: int,
    micro_batch_size: int | None = None,
    max_grad_norm: float | None = None,
    seed: int = 0,
    device: str = "cpu",
    ready_at_s: float | None = None,
) -> Iterator[Metric | Progress]:
    """Trains ``model`` in place for ``schedule.total_steps`` steps, in float32.

    Each step follows the gradient of the mean loss over the targets of ``global_batch_size``
    samples (what is left at the end of an epoch makes a shorter step). With ``micro_batch_size``
    they are taken in portions and the gradients added up: same mean, less memory.

    Yields at fixed steps ``train/loss``, the mean since its last point, at most 200 times, and at
    ends of epochs ``test/loss`` and ``test/accuracy``, at most 50 times, the last after the last
    step. Yields once ``time/first_step_s``, from ``ready_at_s`` (Unix time) to the end of the first
    step, and ``train/samples_per_s`` and ``train/step_ms`` over the time spent in steps; the first,
    which pays for what happens only once, is left out of these. Progress comes at most twice a
    second. The same seed on the same number of threads gives the same weights to the last bit.

    Raises TaskError if the model's outputs don't fit the data, or a loss is not finite.
    """
    samples = len(data.train_inputs)
    targets_per_sample = data.train_targets[0].numel()
    total_steps = schedule.total_steps
    steps_per_epoch = math.ceil(samples / global_batch_size)
    epochs = math.ceil(total_steps / steps_per_epoch)
    point_interval = math.ceil(total_steps / _MAX_POINTS)
    evaluation_interval = math.ceil(epochs / _MAX_EVALUATIONS)

    layout = place(model, device)
    columns = (data.train_inputs, data.train_targets, *objective.columns)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    losses = _Losses()
    watch = Stopwatch(device)
    step = timed_samples = timed_steps = 0
    for epoch in range(epochs):
        model.train()
        _seed_model(derive_seed(seed, "model", epoch), device)
        watch.start()
        for window in epoch_windows(
            columns,
            global_batch_size=global_batch_size,
            micro_batch_size=micro_batch_size or global_batch_size,
            seed=seed,
            epoch=epoch,
            device=device,
            layout=layout,
        ):
            window_samples = sum(len(batch[0]) for batch in window)
            count = window_samples * targets_per_sample
            schedule.apply(step)
            for inputs, targets, *extra in window:
                logits = model(inputs)
                if step == 0:
                    _check_logits(logits, targets, len(data.classes))
                loss = objective(logits, inputs, targets, tuple(extra))
                # By the whole window's count, so that portions and short windows average rightly.
                (loss / count).backward()  # type: ignore[no-untyped-call]
                losses.add(step, loss.detach(), len(targets) * targets_per_sample)
            if max_grad_norm is not None:
                nn.utils.clip_grad_norm_(parameters, max_grad_norm)
            optimizer.step()
            for parameter in parameters:
                parameter.grad = None
            step += 1
            timed_samples += window_samples
            timed_steps += 1

            is_point = step % point_interval == 0 or step == total_steps
            is_progress = watch.is_progress_due()
            if is_point or is_progress or step == 1:
                watch.pause()
                mean_loss = losses.mean()
                if step == 1 and ready_at_s is not None:
                    yield Metric(name="time/first_step_s", value=time.time() - ready_at_s)
                if step == 1 and total_steps > 1:
                    watch.seconds = timed_samples = timed_steps = 0
                if is_point:
                    losses.clear()
                    yield Metric(name="train/loss", value=mean_loss, step=step)
                if is_progress:
                    yield Progress(
                        step=step,
                        total_steps=total_steps,
                        epoch=step / steps_per_epoch,
                        samples_per_s=timed_samples / watch.seconds if timed_steps else None,
                        loss=mean_loss,
                    )
                watch.start()
            if step == total_steps:
                break
        watch.pause()
        if (epoch + 1) % evaluation_interval == 0 or step == total_steps:
            yield from _evaluate(model, data, device=device, layout=layout, step=step)
    yield Metric(name="train/samples_per_s", value=timed_samples / watch.seconds)
    yield Metric(name="train/step_ms", value=1e3 * watch.seconds / timed_steps)


class _Losses:
    """The summed losses since the last point, kept on the device until someone asks."""

    def __init__(self) -> None:
        self._sums: list[Tensor] = []
        self._steps: list[int] = []
        self._targets = 0

    def add(self, step: int, loss: Tensor, targets: int) -> None:
        self._sums.append(loss)
        self._steps.append(step)
        self._targets += targets

    def mean(self) -> float:
        # The only place that waits for the device, and so the place to look for a loss gone wrong.
        sums = torch.stack(self._sums).double()
        total = sums.sum().item()
        if not math.isfinite(total):
            first = int((~sums.isfinite()).nonzero()[0])
            raise TaskError(
                f"the loss was {sums[first].item()} in step {self._steps[first] + 1}",
                hint="lower the learning rate, add warmup_steps or max_grad_norm, or look for "
                "values in the data that are not finite",
            )
        return total / self._targets

    def clear(self) -> None:
        self._sums.clear()
        self._steps.clear()
        self._targets = 0


def _seed_model(seed: int, device: str) -> None:
    # For dropout: the randomness of an epoch depends on nothing that ran before it.
    if torch.device(device).type == "cpu":
        # torch.manual_seed also prepares every accelerator there might be, which takes as long as
        # a step of a small model.
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def _evaluate(
    model: nn.Module, data: Dataset, *, device: str, layout: torch.memory_format, step: int
) -> Iterator[Metric]:
    held_out = score(model, data, device=device, layout=layout)
    if not math.isfinite(held_out.loss):
        raise TaskError(
            f"the loss on the held-out data was {held_out.loss} after step {step}",
            hint="lower the learning rate, or add warmup_steps or max_grad_norm",
        )
    yield Metric(name="test/loss", value=held_out.loss, step=step)
    yield Metric(name="test/accuracy", value=held_out.accuracy, step=step)


def _check_logits(logits: Tensor, targets: Tensor, classes: int) -> None:
    expected = (*targets.shape, classes)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
        got = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"{type(logits)}"
        raise TaskError(
            f"the model gave {got} for a batch whose logits must have shape {expected}",
            hint="its last layer must have one output a class",
        )
