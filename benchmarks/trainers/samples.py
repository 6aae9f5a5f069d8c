"""Models and batches of the cases as tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, islice, repeat
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import Sampler

from runner.torchlib import data
from runner.torchlib.batches import epoch_order
from runner.torchlib.data import Dataset
from runner.torchlib.models import build
from trainers.cases import CASES

Taken = TypeVar("Taken")


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training: a fresh model, the data, and how many steps of which batch size."""

    model: nn.Module
    dataset: Dataset
    batch: int
    steps: int


@cache
def _whole(case: str) -> Dataset:
    chosen = CASES[case]
    return data.load(name=chosen.data, args=chosen.data_args)


def load(case: str, batch: int) -> Dataset:
    """The case's data. All loops only train, so there is one sample left to evaluate on."""
    whole, batches = _whole(case), CASES[case].batches
    samples = len(whole.train_inputs) if batches is None else batches * batch
    if samples > len(whole.train_inputs):
        raise ValueError(f"{case} has {len(whole.train_inputs)} samples, {samples} are needed")
    return replace(
        whole,
        train_inputs=whole.train_inputs[:samples],
        train_targets=whole.train_targets[:samples],
        test_inputs=whole.test_inputs[:1],
        test_targets=whole.test_targets[:1],
    )


def make_model(case: str) -> nn.Module:
    """The case's model, with the same weights each time."""
    whole = _whole(case)
    return build(
        name=CASES[case].model,
        args=CASES[case].args,
        input_shape=whole.input_shape,
        num_classes=len(whole.classes),
    )


def samples_of(dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Inputs and targets as a model and PyTorch's loss take them."""
    inputs, targets = dataset.train_inputs, dataset.train_targets
    return inputs if inputs.is_floating_point() else inputs.long(), targets.long()


class SameOrder(Sampler[int]):
    """The order in which runner takes the samples of each epoch, for the other loops."""

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.epoch = 0

    def __len__(self) -> int:
        return self.samples

    def __iter__(self) -> Iterator[int]:
        order = epoch_order(self.samples, seed=0, epoch=self.epoch)
        self.epoch += 1
        yield from order.tolist()


class Batches:
    """The same batches without a DataLoader: permuted once an epoch, then slices."""

    def __init__(self, inputs: Tensor, targets: Tensor, batch: int) -> None:
        self.inputs, self.targets, self.batch = inputs, targets, batch
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self.inputs) // self.batch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = epoch_order(len(self.inputs), seed=0, epoch=self.epoch)
        self.epoch += 1
        inputs = self.inputs[order]
        if inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        yield from zip(inputs.split(self.batch), self.targets[order].split(self.batch), strict=True)


def through(loader: Iterable[Taken], steps: int) -> Iterator[Taken]:
    """As many batches as there are steps, epoch after epoch."""
    return islice(chain.from_iterable(repeat(loader)), steps)
