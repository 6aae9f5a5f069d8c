"""A SavedModel, to be called with arrays by its serving signature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from runner.data.classes import Array
from runner.data.described import Described
from runner.data.opened import Opened
from runner.errors import TaskError

SIGNATURE = "serving_default"


def open_model(path: Path, described: Described, *, threads: int, device: str) -> Opened:
    """The model in the folder ``path``, by what it gives to those who serve it: no Keras is needed.

    Raises TaskError if it is no SavedModel with one input and one output.
    """
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    serve, taken, given = serving(path)

    def call(ready: Any) -> Array:
        outputs: Array = np.asarray(serve(**{taken: ready})[given], dtype=np.float32)
        return outputs

    return Opened(ready=tf.constant, call=call, runtime=f"tensorflow {tf.__version__}")


def serving(path: Path) -> tuple[Any, str, str]:
    """The function that serves the SavedModel in ``path``, its input's and its output's name.

    Raises TaskError if there is none with one input and one output.
    """
    try:
        serve = tf.saved_model.load(str(path)).signatures[SIGNATURE]
        (taken,) = serve.structured_input_signature[1]
        (given,) = serve.structured_outputs
    except (OSError, ValueError, LookupError, RuntimeError, tf.errors.OpError) as error:
        said = " ".join(str(error).split())[:400]
        raise TaskError(f"{path} can't be read: {said}", hint="make the file again") from error
    return serve, taken, given
