"""How good, big and fast a Keras model is, by the names and in the way of PyTorch's models."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from runner.data.channels import for_keras
from runner.data.classes import Array
from runner.data.dataset import Dataset
from runner.data.timing import LATENCY_CALLS, THROUGHPUT_CALLS, timed
from runner.model import Metric
from runner.tflib.artifact import check_data, load
from runner.tflib.figures import figures
from runner.tflib.steps import Scores


def measure_artifact(folder: Path, data: Dataset, *, device: str) -> list[Metric]:
    """Everything there is to measure of the model saved in ``folder``, loaded anew from there.

    ``device`` is TensorFlow's name for it, ``/cpu:0`` or ``/tpu:0``. The names are those of
    ``runner.torchlib.measure.measure_artifact``. Raises TaskError if the folder can't be read or
    ``data`` is not of the kind the model was made for, or holds out what the model has seen.
    """
    with tf.device(device):
        loaded = load(folder)
    check_data(loaded, data)
    data = data.standardised_as(loaded.preprocessing)
    loss, accuracy = Scores(tf.distribute.OneDeviceStrategy(device), loaded.model, data).score()
    calls = partial(call_seconds, loaded.model, data.test_inputs, device=device)
    return figures(folder, loaded, data, score=(loss, accuracy), calls=calls)


def call_seconds(
    model: Any, inputs: Array, *, device: str, batch_size: int
) -> tuple[list[float], list[float]]:
    """Seconds of each of 200 calls at batch 1, and of 30 at ``batch_size``, after ten to warm up.

    A call is one of a graph of that shape, from inputs that lie on the device to outputs that are
    there. A model so slow that this would take more than three seconds gets fewer calls, ten at the
    least.
    """
    repeated = np.resize(inputs, (batch_size, *inputs.shape[1:]))
    with tf.device(device):
        batch = tf.constant(for_keras(repeated))
        graph = tf.function(lambda rows: model(rows, training=False))

        def call(rows: Any) -> Callable[[], None]:
            ready = graph.get_concrete_function(rows)
            return lambda: _wait(ready(rows))

        return (
            timed(call(batch[:1]), LATENCY_CALLS),
            timed(call(batch), THROUGHPUT_CALLS),
        )


def _wait(outputs: Any) -> None:
    """Until the outputs are there: an accelerator computes them meanwhile."""
    outputs.numpy()
