"""How good, big and fast a Keras model is, by the names and in the way of PyTorch's models."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from runner.data.classes import Array
from runner.data.dataset import Dataset
from runner.model import Metric
from runner.tflib.artifact import check_data, load, size_bytes
from runner.tflib.feeding import for_keras
from runner.tflib.steps import Scores, most_at_once

_THROUGHPUT_BATCH = 64
_WARM_UP_CALLS = 10
_LATENCY_CALLS = 200
_THROUGHPUT_CALLS = 30
# Calls are counted before they are timed; only a model too slow for the full count gets fewer.
_BUDGET_S = 3.0
_MIN_CALLS = 10


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
    batch_size = min(_THROUGHPUT_BATCH, most_at_once(data.test_targets[0].size))
    alone, together = call_seconds(
        loaded.model, data.test_inputs, device=device, batch_size=batch_size
    )
    values = {
        "data/train_samples": loaded.trained_on.train_samples,
        "data/test_samples": len(data.test_inputs),
        "test/loss": loss,
        "test/accuracy": accuracy,
        "size/model_mb": size_bytes(folder) / 1e6,
        "size/parameters": count_parameters(loaded.model),
        "latency/p50_ms": 1e3 * statistics.median(alone),
        "latency/p95_ms": 1e3 * statistics.quantiles(alone, n=20, method="inclusive")[-1],
        "throughput/samples_per_s": batch_size / statistics.median(together),
        "memory/peak_mb": peak_memory_mb(),
    }
    return [Metric(name=name, value=value) for name, value in values.items()]


def count_parameters(model: Any) -> int:
    """The number of trained parameters; one that is used in two places counts once."""
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def peak_memory_mb() -> float:
    """The most memory that the process held so far, in 1e6 bytes. Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


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
            _timed(call(batch[:1]), _LATENCY_CALLS),
            _timed(call(batch), _THROUGHPUT_CALLS),
        )


def _wait(outputs: Any) -> None:
    """Until the outputs are there: an accelerator computes them meanwhile."""
    outputs.numpy()


def _timed(call: Callable[[], None], calls: int) -> list[float]:
    warm_up = [_seconds(call) for _ in range(2)]
    # Two slow calls are enough of a warm-up for a model that takes seconds.
    if warm_up[-1] * calls <= _BUDGET_S:
        warm_up += [_seconds(call) for _ in range(_WARM_UP_CALLS - 2)]
    affordable = int(_BUDGET_S / max(1e-9, min(warm_up)))
    return [_seconds(call) for _ in range(min(calls, max(_MIN_CALLS, affordable)))]


def _seconds(call: Callable[[], None]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
