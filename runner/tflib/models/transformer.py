"""The transformer block that vit and gpt are made of, in Keras's own layers."""

from __future__ import annotations

from typing import Any

import keras


def block(x: Any, *, dim: int, heads: int, depth: int, dropout: float, causal: bool) -> Any:
    """Attention, then a linear layer four times as wide with GELU, each normed before, added to.

    (samples, positions, dim) to the same shape. ``depth`` is the number of blocks of a causal
    model, whose weights begin as GPT-2's do (Radford et al. 2019, section 2.3); 0 leaves them to
    Keras. Its attention layer has one initialiser for all four of its matrices, so that the last
    of them is scaled with the others.
    """
    normal = _normal(0.02) if depth else "glorot_uniform"
    residual = _normal(0.02 / (2 * depth) ** 0.5) if depth else "glorot_uniform"
    y = keras.layers.LayerNormalization(epsilon=1e-5)(x)
    y = keras.layers.MultiHeadAttention(
        heads, dim // heads, dropout=dropout, kernel_initializer=normal
    )(y, y, use_causal_mask=causal)
    x = keras.layers.Add()([x, keras.layers.Dropout(dropout)(y) if dropout else y])
    y = keras.layers.LayerNormalization(epsilon=1e-5)(x)
    y = keras.layers.Dense(4 * dim, activation="gelu", kernel_initializer=normal)(y)
    y = keras.layers.Dense(dim, kernel_initializer=residual)(y)
    return keras.layers.Add()([x, keras.layers.Dropout(dropout)(y) if dropout else y])


def _normal(deviation: float) -> Any:
    return keras.initializers.RandomNormal(stddev=deviation)
