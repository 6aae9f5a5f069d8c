"""The training loop beside the plain tutorial loop. Run: python benchmarks/training_loop.py

Both train the same model from the same weights on the same batches with the same optimizer, on one
thread, in turns. The tutorial loop is the one of PyTorch's introduction: a DataLoader that collates
sample by sample, and Adam as it is by default. Their losses must agree step by step. Rates are
medians over the rounds; those by CPU time are disturbed less by a busy machine.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

from runner.model import Metric
from runner.torchlib import data
from runner.torchlib.batches import epoch_order
from runner.torchlib.data import Dataset
from runner.torchlib.engine import Single
from runner.torchlib.loop import count_steps, fit
from runner.torchlib.models import build
from runner.torchlib.objectives import CrossEntropy
from runner.torchlib.optimizers import make_optimizer
from runner.torchlib.schedules import make_schedule

BATCH = 64
LEARNING_RATE = 1e-3
ROUNDS = 9


@dataclass(frozen=True, kw_only=True)
class Case:
    """One model on one data set, and how many epochs of it make a round of the timing."""

    data: str
    model: str
    args: dict[str, Any] = field(default_factory=dict)
    epochs: int


CASES = (
    Case(data="digits", model="mlp", args={"hidden": [256, 128]}, epochs=20),
    Case(
        data="mnist5k",
        model="convnet",
        args={"channels": [16, 32], "hidden": 0, "pool_every": 1},
        epochs=1,
    ),
)


class SameOrder(Sampler[int]):
    """The order in which runner takes the samples of each epoch, for the other loop."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.epoch = 0

    def __len__(self) -> int:
        return self.samples

    def __iter__(self) -> Iterator[int]:
        order = epoch_order(self.samples, seed=0, epoch=self.epoch)
        self.epoch += 1
        yield from order.tolist()


def tutorial(model: nn.Module, dataset: Dataset, epochs: int) -> list[float]:
    """The losses of each step of the loop that every introduction shows."""
    samples = TensorDataset(dataset.train_inputs, dataset.train_targets)
    loader = DataLoader(samples, batch_size=BATCH, sampler=SameOrder(len(samples)))
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    loss_fn = nn.CrossEntropyLoss()
    losses = []
    model.train()
    for _ in range(epochs):
        for inputs, targets in loader:
            loss = loss_fn(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    return torch.stack(losses).tolist()


def runner(model: nn.Module, dataset: Dataset, epochs: int) -> list[float]:
    """The points of ``train/loss``, one a step up to 200 steps."""
    engine = Single(model)
    optimizer = make_optimizer(engine.parameters(), name="adam", learning_rate=LEARNING_RATE)
    steps = count_steps(len(dataset.train_inputs), global_batch_size=BATCH, epochs=epochs)
    events = fit(
        engine,
        dataset,
        objective=CrossEntropy(),
        optimizer=optimizer,
        schedule=make_schedule(optimizer, total_steps=steps),
        global_batch_size=BATCH,
    )
    return [e.value for e in events if isinstance(e, Metric) and e.name == "train/loss"]


def check_losses(model: nn.Module, dataset: Dataset) -> float:
    """The largest relative difference between the losses of the first 20 steps of the two.

    Asserts that it is rounding: Adam's first steps have the size of the learning rate however small
    a gradient is, and so magnify the last bits in which two layouts of a convolution differ.
    """
    few = replace(
        dataset,
        train_inputs=dataset.train_inputs[: 20 * BATCH],
        train_targets=dataset.train_targets[: 20 * BATCH],
    )
    theirs = tutorial(copy.deepcopy(model), few, 1)
    ours = runner(copy.deepcopy(model), few, 1)
    difference = max(abs(a - b) / a for a, b in zip(theirs, ours, strict=True))
    assert len(ours) == 20 and difference < 1e-2, f"the losses differ by {difference:.1%}"
    return difference


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds of ``call``."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


def compare(case: Case) -> str:
    """One row of the table."""
    dataset = data.load(name=case.data)
    model = build(
        name=case.model,
        args=case.args,
        input_shape=dataset.input_shape,
        num_classes=len(dataset.classes),
    )
    difference = check_losses(model, dataset)
    # Both only train: runner's evaluation at the end of an epoch is left one sample to look at.
    dataset = replace(
        dataset, test_inputs=dataset.test_inputs[:1], test_targets=dataset.test_targets[:1]
    )
    seconds: dict[str, list[tuple[float, float]]] = {"tutorial": [], "runner": []}
    for _ in range(ROUNDS):
        for name, loop in (("tutorial", tutorial), ("runner", runner)):
            fresh = copy.deepcopy(model)
            seconds[name].append(timed(lambda: loop(fresh, dataset, case.epochs)))  # noqa: B023
    samples = case.epochs * len(dataset.train_inputs)
    cells = [f"{case.data} / {case.model}", f"{difference:.0e}"]
    for clock in (0, 1):
        theirs, ours = (
            samples / statistics.median(pair[clock] for pair in seconds[name])
            for name in ("tutorial", "runner")
        )
        cells += [f"{theirs:,.0f}", f"{ours:,.0f}", f"**{ours / theirs:.2f}x**"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, 1 thread, batch {BATCH}, median of {ROUNDS} rounds\n")
    print(
        "| data / model | losses differ by | tutorial, samples/CPU-s | runner | ratio "
        "| tutorial, samples/s | runner | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for case in CASES:
        print(compare(case), flush=True)


if __name__ == "__main__":
    main()
