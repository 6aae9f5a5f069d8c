"""The last, shorter window of accumulated gradients: python -m trainers.accumulation

An epoch of 20 micro-batches, 6 to a step, ends with a window of 2. What each trainer's last step
did to the weights, over the learning rate, is the gradient it followed; beside it the exact
gradient of the window's mean loss, computed in float64 at the weights before that step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from runner.torchlib.batches import epoch_order
from runner.torchlib.data import Dataset
from runner.torchlib.engine import Single
from runner.torchlib.loop import fit
from runner.torchlib.objectives import CrossEntropy
from runner.torchlib.optimizers import make_optimizer
from runner.torchlib.schedules import make_schedule
from trainers.loops import mean_loss
from trainers.samples import SameOrder, load, make_model, samples_of

MICRO, ACCUMULATED, BATCHES = 32, 6, 20
# Large, so that what a step does to the weights stands out of their rounding.
LEARNING_RATE = 1.0
STEPS = -(-BATCHES // ACCUMULATED)


class Watched:
    """The flat weights of ``model`` before and after each step of ``optimizer``."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.pairs: list[tuple[Tensor, Tensor]] = []
        step: Callable[..., Any] = optimizer.step

        def watched(closure: Callable[[], Any] | None = None) -> Any:
            before = weights(model)
            done = step() if closure is None else step(closure)
            self.pairs.append((before, weights(model)))
            return done

        optimizer.step = watched  # type: ignore[method-assign]


def weights(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).clone()


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)


def loader(dataset: Dataset) -> DataLoader[tuple[Tensor, ...]]:
    samples = TensorDataset(*samples_of(dataset))
    return DataLoader(samples, batch_size=MICRO, sampler=SameOrder(len(samples)))


def lightning(model: nn.Module, dataset: Dataset) -> Watched:
    from lightning.pytorch import LightningModule, Trainer

    watched = []

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Any, index: int) -> Tensor:
            inputs, targets = batch
            return mean_loss(self.model(inputs), targets)

        def configure_optimizers(self) -> Any:
            optimizer = sgd(self.model)
            watched.append(Watched(model, optimizer))
            return optimizer

    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        accumulate_grad_batches=ACCUMULATED,
        barebones=True,
    )
    trainer.fit(Module(), loader(dataset))
    return watched[0]


def accelerate(model: nn.Module, dataset: Dataset) -> Watched:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=ACCUMULATED)
    plain = sgd(model)
    watched = Watched(model, plain)
    prepared, optimizer, batches = accelerator.prepare(model, plain, loader(dataset))
    for inputs, targets in batches:
        with accelerator.accumulate(prepared):
            accelerator.backward(mean_loss(prepared(inputs), targets))
            # Let through only at the end of a window, and at that of the data.
            optimizer.step()
            optimizer.zero_grad()
    return watched


def runner(model: nn.Module, dataset: Dataset) -> Watched:
    optimizer = make_optimizer(
        model.parameters(), name="sgd", learning_rate=LEARNING_RATE, momentum=0.0
    )
    watched = Watched(model, optimizer)
    events = fit(
        Single(model),
        dataset,
        objective=CrossEntropy(),
        optimizer=optimizer,
        schedule=make_schedule(optimizer, total_steps=STEPS),
        global_batch_size=ACCUMULATED * MICRO,
        micro_batch_size=MICRO,
    )
    for _ in events:
        pass
    return watched


def exact_gradient(model: nn.Module, at: Tensor, dataset: Dataset) -> Tensor:
    """Of the mean loss over the last window, in float64."""
    inputs, targets = samples_of(dataset)
    window = epoch_order(len(inputs), seed=0, epoch=0)[(STEPS - 1) * ACCUMULATED * MICRO :]
    exact = copy.deepcopy(model).double()
    nn.utils.vector_to_parameters(at.double(), exact.parameters())
    mean_loss(exact(inputs[window].double()), targets[window]).backward()
    return torch.cat([p.grad.flatten() for p in exact.parameters() if p.grad is not None])


def compare(train: Callable[[nn.Module, Dataset], Watched], dataset: Dataset) -> str:
    """How long the last step's gradient is beside the exact one, and the relative error."""
    model = make_model("mlp")
    watched = train(model, dataset)
    assert len(watched.pairs) == STEPS, f"{len(watched.pairs)} steps, not {STEPS}"
    before, after = watched.pairs[-1]
    followed = (before.double() - after.double()) / LEARNING_RATE
    exact = exact_gradient(model, before, dataset)
    error = ((followed - exact).norm() / exact.norm()).item()
    return f"{(followed.norm() / exact.norm()).item():.3f} | {error:.2g}"


def main() -> None:
    torch.set_num_threads(1)
    whole = load("mlp", MICRO)
    print("| last window | trainer | length of its gradient to the exact one | relative error |")
    print("|---|---|---:|---:|")
    for title, samples in (
        (f"2 micro-batches of {MICRO}", BATCHES * MICRO),
        (f"2 micro-batches, of {MICRO} and 8", (BATCHES - 1) * MICRO + 8),
    ):
        some = replace(
            whole,
            train_inputs=whole.train_inputs[:samples],
            train_targets=whole.train_targets[:samples],
        )
        for name, train in (("Lightning", lightning), ("Accelerate", accelerate)):
            if find_spec(name.lower()) is None:
                print(f"| {title} | {name} is not installed | | |")
            else:
                print(f"| {title} | {name} | {compare(train, some)} |", flush=True)
        print(f"| {title} | **runner** | {compare(runner, some)} |", flush=True)


if __name__ == "__main__":
    main()
