"""A language model over bytes, built as GPT-2 is (Radford et al. 2019)."""

from __future__ import annotations

from typing import Any

import keras

from runner.errors import TaskError
from runner.tflib.models.transformer import block


def make(
    *,
    input_shape: tuple[int, ...],
    num_classes: int,
    block_size: int | None,
    dim: int,
    depth: int,
    heads: int,
    dropout: float,
    tied: bool,
) -> Any:
    """``depth`` blocks of width ``dim``; ``tied``: one matrix embeds bytes and predicts them.

    ``block_size`` is the longest sequence it will take, by default the data's.
    """
    block_size = input_shape[0] if block_size is None else block_size
    if block_size < input_shape[0]:
        raise TaskError(
            f"gpt: block_size {block_size} is less than the {input_shape[0]} of the data",
            hint="leave it out, or set the data's block_size to match",
        )
    normal = keras.initializers.RandomNormal(stddev=0.02)
    inputs = keras.Input(input_shape, dtype="int32")
    embedding = keras.layers.ReversibleEmbedding(
        num_classes,
        dim,
        tie_weights=tied,
        embeddings_initializer=normal,
        reverse_dtype="float32",
    )
    number = keras.ops.cumsum(keras.ops.ones_like(inputs), axis=1) - 1
    positions = keras.layers.Embedding(block_size, dim, embeddings_initializer=normal)(number)
    x = keras.layers.Add()([embedding(inputs), positions])
    if dropout:
        x = keras.layers.Dropout(dropout)(x)
    for _ in range(depth):
        x = block(x, dim=dim, heads=heads, depth=depth, dropout=dropout, causal=True)
    x = keras.layers.LayerNormalization(epsilon=1e-5)(x)
    return keras.Model(inputs, embedding(x, reverse=True))
