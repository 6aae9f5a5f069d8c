"""Data that is learnt in a moment, for any of Keras's backends."""

from __future__ import annotations

import numpy as np

from runner.data.dataset import Dataset, Labelled, from_labelled


def small(samples: int = 40, features: int = 6, classes: int = 3, seed: int = 0) -> Dataset:
    """A table; a fifth of it is held out."""
    random = np.random.default_rng(seed)
    features = max(features, classes)
    inputs = random.normal(size=(samples, features)).astype(np.float32)
    labels = np.arange(samples) % classes
    inputs[np.arange(samples), labels] += 2.0
    return from_labelled(
        Labelled(inputs=inputs, labels=labels), test_fraction=0.2, seed=0, like=None
    )
