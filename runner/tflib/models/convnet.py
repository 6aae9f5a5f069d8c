"""A plain convolutional network: blocks of convolution, batch norm and ReLU, with max pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from runner.errors import TaskError


def make(
    *,
    input_shape: tuple[int, ...],
    num_classes: int,
    channels: Sequence[int],
    hidden: int,
    pool_every: int,
    dropout: float,
) -> Any:
    """3x3 convolutions to ``channels``, 2x2 pooling after every ``pool_every``-th, linear layers.

    ``hidden`` is the width of a linear layer before the last, 0 for none; ``dropout`` acts before
    the last. Batch norm takes its statistics over all replicas.
    """
    height, width, _ = input_shape
    poolings = len(channels) // pool_every
    if not height >> poolings or not width >> poolings:
        raise TaskError(
            f"convnet: {poolings} poolings leave nothing of images of {height}x{width} pixels",
            hint="give fewer channels, or a larger pool_every",
        )
    # On JAX a batch that is divided is one array all the same, and Keras refuses the flag.
    is_divided = keras.backend.backend() == "tensorflow"
    layers: list[Any] = [keras.Input(input_shape)]
    for index, depth in enumerate(channels, start=1):
        # Batch norm has a bias of its own; its numbers are PyTorch's.
        layers += [
            keras.layers.Conv2D(depth, 3, padding="same", use_bias=False),
            keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, synchronized=is_divided),
            keras.layers.ReLU(),
        ]
        if index % pool_every == 0:
            layers.append(keras.layers.MaxPooling2D(2))
    layers.append(keras.layers.Flatten())
    if hidden:
        layers.append(keras.layers.Dense(hidden, activation="relu"))
    if dropout:
        layers.append(keras.layers.Dropout(dropout))
    layers.append(keras.layers.Dense(num_classes, dtype="float32"))
    return keras.Sequential(layers)
