"""A data set as tensors: what ``runner.data`` reads, for PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import runner.data
from runner.data.dataset import Rescaling, Work, origin_of_values
from runner.data.origin import Origin
from runner.errors import TaskError

if TYPE_CHECKING:
    from runner.torchlib.streaming.feed import Streamed


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Dataset:
    """Inputs and targets in memory, so that a batch is a slice and an epoch is one gather.

    As ``runner.data.Dataset``, with tensors. With a ``stream``, the samples to train on are read
    from there again in every epoch, and those in memory are only some of them, for what has to try
    a few.
    """

    train_inputs: Tensor
    train_targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    task: Work
    preprocessing: Mapping[str, Any]
    origin: Origin | None = None
    stream: Streamed | None = None

    @property
    def train_samples(self) -> int:
        """How many samples there are to train on, in memory or not."""
        return len(self.train_inputs) if self.stream is None else self.stream.samples

    def reading(self) -> AbstractContextManager[object]:
        """Ends with the ``with`` what is being read ahead of a training, if anything is."""
        return nullcontext() if self.stream is None else closing(self.stream)

    def standardised_as(self, preprocessing: Mapping[str, Any]) -> Dataset:
        """This data as a model needs it that was trained on data with ``preprocessing``.

        As ``runner.data.Dataset.standardised_as``.
        """
        if dict(preprocessing) == dict(self.preprocessing):
            return self
        if self.stream is not None:
            raise TaskError(
                "data that is streamed is standardised as it is read, for one model",
                hint="load it for the model it is wanted for",
            )
        rescaling = Rescaling.between(self.preprocessing, preprocessing, self.input_shape)
        scale, shift = torch.from_numpy(rescaling.scale), torch.from_numpy(rescaling.shift)
        return replace(
            self,
            train_inputs=(self.train_inputs * scale + shift).float(),
            test_inputs=(self.test_inputs * scale + shift).float(),
            preprocessing=preprocessing,
        )


_TENSORS = ("train_inputs", "train_targets", "test_inputs", "test_targets")


def load(**settings: Any) -> Dataset:
    """What ``runner.data.load`` gives for the same settings, as tensors of the same memory."""
    return from_arrays(runner.data.load(**settings))


def from_arrays(arrays: runner.data.Dataset) -> Dataset:
    """The same data set, whose tensors share the arrays' memory."""
    values = {field.name: getattr(arrays, field.name) for field in fields(arrays)}
    return Dataset(**{**values, **{name: torch.as_tensor(values[name]) for name in _TENSORS}})


def to_arrays(data: Dataset) -> runner.data.Dataset:
    """The same data set without PyTorch; of what is streamed, those samples that are in memory."""
    values = {field.name: getattr(data, field.name) for field in fields(runner.data.Dataset)}
    return runner.data.Dataset(**{**values, **{name: values[name].numpy() for name in _TENSORS}})


def origin_of(data: Dataset) -> Origin:
    """Which samples ``data`` holds: as its source says, else told by its tensors."""
    if data.origin is not None:
        return data.origin
    return origin_of_values(*(getattr(data, name).numpy() for name in _TENSORS))
