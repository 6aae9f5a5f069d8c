"""A multi-layer perceptron: linear layers with ReLU between, on flattened inputs."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import nn


def make(
    *,
    input_shape: tuple[int, ...],
    num_classes: int,
    hidden: Sequence[int],
    dropout: float,
) -> nn.Module:
    """Hidden layers of the widths ``hidden``, each followed by ReLU and, if asked, dropout."""
    layers: list[nn.Module] = [nn.Flatten()]
    width = prod(input_shape)
    for next_width in hidden:
        layers += [nn.Linear(width, next_width), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        width = next_width
    layers.append(nn.Linear(width, num_classes))
    return nn.Sequential(*layers)
