"""The loops: a tutorial's, the best that one writes by hand, and runner's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from runner.model import Metric, Widths
from runner.torchlib.device import prepare
from runner.torchlib.engine import Engine, Single
from runner.torchlib.loop import fit
from runner.torchlib.objectives import CrossEntropy
from runner.torchlib.optimizers import make_optimizer
from runner.torchlib.parallel.engine import make_engine
from runner.torchlib.parallel.options import Options
from runner.torchlib.precision import Precision
from runner.torchlib.schedules import make_schedule
from trainers.cases import LEARNING_RATE
from trainers.samples import Batches, SameOrder, Training, samples_of, through


def mean_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy over a batch's targets, of which a text has one a byte."""
    if logits.ndim > 2:
        logits, targets = logits.flatten(0, -2), targets.flatten()
    return functional.cross_entropy(logits, targets)


def adam(model: nn.Module, *, is_tuned: bool) -> torch.optim.Adam:
    """torch's Adam as it is by default, or fused."""
    return torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=is_tuned or None)


def default_loader(training: Training) -> DataLoader[tuple[Tensor, ...]]:
    """A DataLoader that collates sample by sample, as it does by default."""
    samples = TensorDataset(*samples_of(training.dataset))
    return DataLoader(samples, batch_size=training.batch, sampler=SameOrder(len(samples)))


def tuned(training: Training) -> Batches:
    """Pre-batched tensors; a convolutional model is put into channels-last, as its images are."""
    if any(isinstance(module, nn.Conv2d) for module in training.model.modules()):
        training.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Batches(*samples_of(training.dataset), training.batch)


def tutorial(training: Training) -> list[Tensor]:
    """The loop that every introduction shows."""
    model, loader = training.model, default_loader(training)
    optimizer = adam(model, is_tuned=False)
    losses = []
    model.train()
    for inputs, targets in through(loader, training.steps):
        loss = mean_loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


def hand_written(training: Training) -> list[Tensor]:
    """The fastest that one would write with what torch offers: no DataLoader, fused Adam."""
    model, loader = training.model, tuned(training)
    optimizer = adam(model, is_tuned=True)
    losses = []
    model.train()
    for inputs, targets in through(loader, training.steps):
        loss = mean_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    return losses


def runner(training: Training) -> list[Tensor]:
    """runner's loop on one device, in a process made ready as its kinds do."""
    prepare("cpu", threads=1)
    return _fit(Single(training.model), training, training.batch)


def gang(training: Training, ranks: int) -> list[Tensor]:
    """runner's loop on one of the ranks of a process group, with DDP."""
    prepare("cpu", threads=1)
    micro = training.batch // ranks
    engine = make_engine(
        training.model,
        widths=Widths(strategy="ddp", dp_replicate=ranks),
        precision=Precision("fp32", "cpu"),
        device="cpu",
        global_batch_size=training.batch,
        micro_batch_size=micro,
        options=Options(),
        sample=training.dataset.test_inputs[0],
    )
    return _fit(engine, training, micro)


def _fit(engine: Engine, training: Training, micro: int) -> list[Tensor]:
    optimizer = make_optimizer(engine.parameters(), name="adam", learning_rate=LEARNING_RATE)
    events = fit(
        engine,
        training.dataset,
        objective=CrossEntropy(),
        optimizer=optimizer,
        schedule=make_schedule(optimizer, total_steps=training.steps),
        global_batch_size=training.batch,
        micro_batch_size=micro,
    )
    # One a step up to 200 steps; beyond that, each is the mean of several.
    return [
        torch.tensor(event.value)
        for event in events
        if isinstance(event, Metric) and event.name == "train/loss"
    ]
