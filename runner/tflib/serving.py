"""A Keras model out of its folder, to be called with arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from runner.data.classes import Array
from runner.data.described import Described
from runner.data.opened import Opened
from runner.tflib.artifact import load
from runner.tflib.figures import count_parameters


def open_model(path: Path, described: Described, *, threads: int, device: str) -> Opened:
    """The model in the folder ``path``, as a graph for each shape of its inputs."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = load(path).model
    graph = tf.function(lambda rows: model(rows, training=False))

    def call(ready: Any) -> Array:
        outputs: Array = np.asarray(graph(ready), dtype=np.float32)
        return outputs

    return Opened(
        ready=tf.constant,
        call=call,
        runtime=f"tensorflow {tf.__version__}",
        parameters=count_parameters(model),
    )
