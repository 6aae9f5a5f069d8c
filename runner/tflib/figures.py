"""The figures of a Keras model by their names, whichever of Keras's backends measured them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from runner.data.dataset import Dataset
from runner.data.described import size_bytes
from runner.data.timing import THROUGHPUT_BATCH, Speed, peak_memory_mb
from runner.model import Metric
from runner.tflib.artifact import LoadedModel
from runner.tflib.portions import most_at_once


class Calls(Protocol):
    """Calls a model, and times it."""

    def __call__(self, *, batch_size: int) -> tuple[list[float], list[float]]:
        """Seconds of each of many calls at batch 1, and at ``batch_size``."""


def figures(
    folder: Path, loaded: LoadedModel, data: Dataset, *, score: tuple[float, float], calls: Calls
) -> list[Metric]:
    """All figures of the model in ``folder``, given its loss and accuracy on ``data``."""
    batch_size = min(THROUGHPUT_BATCH, most_at_once(data.test_targets[0].size))
    alone, together = calls(batch_size=batch_size)
    loss, accuracy = score
    values = {
        **loaded.sample_counts(len(data.test_inputs)),
        "test/loss": loss,
        "test/accuracy": accuracy,
        "size/model_mb": size_bytes(folder) / 1e6,
        "size/parameters": count_parameters(loaded.model),
        **Speed.of(alone, together, batch_size=batch_size).metrics(),
        "memory/peak_mb": peak_memory_mb(),
    }
    return [Metric(name=name, value=value) for name, value in values.items()]


def count_parameters(model: Any) -> int:
    """The number of trained parameters; one that is used in two places counts once."""
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
