"""A vision transformer (Dosovitskiy et al. 2021): an image is a sequence of patches."""

from __future__ import annotations

from typing import Any

import keras

from runner.errors import TaskError
from runner.tflib.models.transformer import block


def make(
    *,
    input_shape: tuple[int, ...],
    num_classes: int,
    patch: int,
    dim: int,
    depth: int,
    heads: int,
    dropout: float,
) -> Any:
    """``depth`` blocks of width ``dim`` on patches of ``patch`` x ``patch`` pixels."""
    height, width, _ = input_shape
    if height % patch or width % patch:
        raise TaskError(
            f"vit: images of {height}x{width} pixels can't be cut into patches of {patch}x{patch}",
            hint="take a patch that divides both",
        )
    images = keras.Input(input_shape)
    x = keras.layers.Conv2D(dim, patch, strides=patch)(images)
    x = keras.layers.Reshape((-1, dim))(x)
    # A class token and positions are rows of tables, looked up by numbers made from the inputs, as
    # layers of one's own would be needed for weights that stand alone.
    zero = keras.ops.zeros_like(x[:, :1, 0], dtype="int32")
    token = keras.layers.Embedding(1, dim, embeddings_initializer="zeros")(zero)
    x = keras.layers.Concatenate(axis=1)([token, x])
    number = keras.ops.cumsum(keras.ops.ones_like(x[:, :, 0], dtype="int32"), axis=1) - 1
    tokens = (height // patch) * (width // patch) + 1
    normal = keras.initializers.RandomNormal(stddev=0.02)
    x = keras.layers.Add()(
        [x, keras.layers.Embedding(tokens, dim, embeddings_initializer=normal)(number)]
    )
    for _ in range(depth):
        x = block(x, dim=dim, heads=heads, depth=0, dropout=dropout, causal=False)
    x = keras.layers.LayerNormalization(epsilon=1e-5)(x[:, 0])
    return keras.Model(images, keras.layers.Dense(num_classes, dtype="float32")(x))
