"""Five steps of a linear classifier as NumPy does them in float64, by the papers' equations."""

from __future__ import annotations

from typing import Any

import numpy as np


def softmax(logits: Any) -> Any:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def by_sgd(
    data: Any, weight: Any, bias: Any, *, smoothing: float, clip: float | None
) -> tuple[list[float], Any]:
    """Losses, and all weights after steps on all samples: momentum 0.9, rate 0.2, decay 0.05."""
    inputs = data.train_inputs.astype(np.float64)
    goal = (1 - smoothing) * np.eye(3)[data.train_targets] + smoothing / 3
    moved = [np.zeros_like(weight), np.zeros_like(bias)]
    losses = []
    for _ in range(5):
        chances = softmax(inputs @ weight + bias)
        losses.append(-(goal * np.log(chances)).sum(1).mean())
        wrong = (chances - goal) / len(inputs)
        gradients = [inputs.T @ wrong + 0.05 * weight, wrong.sum(0)]
        if clip is not None:
            norm = np.sqrt(sum((each**2).sum() for each in gradients))
            gradients = [each * min(1.0, clip / norm) for each in gradients]
        moved = [0.9 * v - 0.2 * g for v, g in zip(moved, gradients, strict=True)]
        weight, bias = weight + moved[0], bias + moved[1]
    return losses, np.append(weight, bias)


def by_adamw(data: Any, weight: Any, bias: Any) -> Any:
    """All weights after the steps: decay 0.1, and a rate that falls from 0.02 to zero.

    Loshchilov and Hutter 2019, algorithm 2. Decay acts on the matrix alone.
    """
    inputs, goal = data.train_inputs.astype(np.float64), np.eye(3)[data.train_targets]
    first = [np.zeros_like(weight), np.zeros_like(bias)]
    second = [np.zeros_like(weight), np.zeros_like(bias)]
    for step in range(1, 6):
        rate = 0.02 * (1 - (step - 1) / 5)
        wrong = (softmax(inputs @ weight + bias) - goal) / len(inputs)
        gradients = [inputs.T @ wrong, wrong.sum(0)]
        first = [0.9 * m + 0.1 * g for m, g in zip(first, gradients, strict=True)]
        second = [0.999 * v + 0.001 * g**2 for v, g in zip(second, gradients, strict=True)]
        steps = [
            m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
            for m, v in zip(first, second, strict=True)
        ]
        weight = weight - rate * 0.1 * weight - rate * steps[0]
        bias = bias - rate * steps[1]
    return np.append(weight, bias)
