"""How good, big and fast a Keras model is on JAX, by the names that it has on TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from runner.data.channels import for_keras
from runner.data.classes import Array
from runner.data.dataset import Dataset
from runner.data.timing import LATENCY_CALLS, THROUGHPUT_CALLS, timed
from runner.model import Metric
from runner.tflib.artifact import check_data, load
from runner.tflib.figures import figures
from runner.tflib.on_jax.steps import Scores
from runner.tflib.on_jax.strategy import alone


def measure_artifact(folder: Path, data: Dataset, *, device: str) -> list[Metric]:
    """Everything there is to measure of the model saved in ``folder``, loaded anew from there.

    It runs on one device of ``device``, ``/cpu:0`` or ``/tpu:0`` as TensorFlow names them. Raises
    TaskError if the folder can't be read or ``data`` is not of the kind the model was made for, or
    holds out what the model has seen.
    """
    strategy = alone(device.strip("/").partition(":")[0])
    with strategy.scope():
        loaded = load(folder)
    check_data(loaded, data)
    data = data.standardised_as(loaded.preprocessing)
    score = Scores(strategy, loaded.model, data).score()
    calls = partial(call_seconds, loaded.model, data.test_inputs, layout=strategy.everywhere())
    return figures(folder, loaded, data, score=score, calls=calls)


def call_seconds(
    model: Any, inputs: Array, *, layout: Any, batch_size: int
) -> tuple[list[float], list[float]]:
    """Seconds of each of 200 calls at batch 1, and of 30 at ``batch_size``, after ten to warm up.

    A call is one of a function compiled for that shape, from inputs that lie on the device to
    outputs that are there. A model so slow that this would take more than three seconds gets fewer
    calls, ten at the least.
    """
    repeated = np.resize(inputs, (batch_size, *inputs.shape[1:]))
    batch = for_keras(repeated)
    values = [[v.value for v in model.trainable_variables],
              [v.value for v in model.non_trainable_variables]]  # fmt: skip
    compiled = jax.jit(lambda *given: model.stateless_call(*given, training=False)[0])

    def call(rows: Array) -> Callable[[], Array]:
        ready = jax.device_put(rows, layout)
        return lambda: np.asarray(compiled(*values, ready))

    return timed(call(batch[:1]), LATENCY_CALLS), timed(call(batch), THROUGHPUT_CALLS)
