"""Where the channels of an image are: data and PyTorch have them first, Keras has them last."""

from __future__ import annotations

import numpy as np

from runner.data.classes import Array
from runner.data.dataset import Dataset


def for_keras(inputs: Array) -> Array:
    """Inputs as Keras models take them: images with channels last, bytes as int32."""
    if inputs.ndim == 4:
        return np.ascontiguousarray(np.moveaxis(inputs, 1, -1))
    return inputs.astype(np.int32) if inputs.dtype == np.uint8 else inputs


def input_shape(data: Dataset) -> tuple[int, ...]:
    """The shape of a sample as Keras models take it."""
    shape = data.input_shape
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape
