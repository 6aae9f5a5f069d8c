"""A multi-layer perceptron: linear layers with ReLU between, on flattened inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


def make(
    *, input_shape: tuple[int, ...], num_classes: int, hidden: Sequence[int], dropout: float
) -> Any:
    """Hidden layers of the widths ``hidden``, each followed by ReLU and, if asked, dropout."""
    layers: list[Any] = [keras.Input(input_shape), keras.layers.Flatten()]
    for width in hidden:
        layers.append(keras.layers.Dense(width, activation="relu"))
        if dropout:
            layers.append(keras.layers.Dropout(dropout))
    # Logits in fp32 whatever the precision: a softmax over bf16 ones loses digits.
    layers.append(keras.layers.Dense(num_classes, dtype="float32"))
    return keras.Sequential(layers)
