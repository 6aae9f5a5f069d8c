"""A model and data of one's own, for bring-your-own.yaml: two interleaving half circles."""

import numpy as np
from torch import nn


def make_model(width: int, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Two hidden layers. ``input_shape`` and ``num_classes`` come from the data."""
    return nn.Sequential(
        nn.Linear(input_shape[0], width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, num_classes),
    )


def make_data(samples: int, noise: float) -> tuple[np.ndarray, ...]:
    """x_train, y_train, x_test, y_test: points in the plane, and which half circle they are of."""
    random = np.random.default_rng(0)
    angle = random.uniform(0.0, np.pi, samples)
    label = random.integers(0, 2, samples)
    x = np.where(label == 0, np.cos(angle), 1.0 - np.cos(angle))
    y = np.where(label == 0, np.sin(angle), 0.5 - np.sin(angle))
    points = np.stack([x, y], axis=1) + random.normal(0.0, noise, (samples, 2))
    cut = samples * 4 // 5
    return points[:cut], label[:cut], points[cut:], label[cut:]
