"""What a training makes small: the loss of each sample, in the operations of Keras's backends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import keras


class Objective(Protocol):
    """The losses of a batch's samples, each the mean over the sample's targets, in nats and fp32.

    ``columns`` are arrays with a row for each training sample, of which it is given those of the
    batch.
    """

    @property
    def columns(self) -> tuple[Any, ...]:
        """Arrays beside the inputs and the targets; none if the objective needs none."""

    def __call__(self, logits: Any, inputs: Any, targets: Any, columns: tuple[Any, ...]) -> Any:
        """The losses, of shape (samples,)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossEntropy:
    """The cross-entropy with the targets, with smoothed labels if asked (see cross_entropy)."""

    label_smoothing: float = 0.0

    @property
    def columns(self) -> tuple[Any, ...]:
        """None are needed."""
        return ()

    def __call__(self, logits: Any, inputs: Any, targets: Any, columns: tuple[Any, ...]) -> Any:
        """The losses, of shape (samples,)."""
        return cross_entropy(logits, targets, self.label_smoothing)


def cross_entropy(logits: Any, targets: Any, smoothing: float = 0.0) -> Any:
    """The mean loss of each sample over its targets, in fp32, with smoothed labels if asked.

    ``smoothing`` is the weight of the uniform distribution (Szegedy et al. 2016, section 7).
    """
    ops = keras.ops
    logits = ops.cast(logits, "float32")
    losses = ops.sparse_categorical_crossentropy(targets, logits, from_logits=True)
    if smoothing:
        uniform = -ops.mean(ops.log_softmax(logits), -1)
        losses = (1.0 - smoothing) * losses + smoothing * uniform
    return over_targets(losses)


def over_targets(losses: Any) -> Any:
    """The mean of each sample's losses: of a text, over the bytes of the sequence."""
    return losses if len(losses.shape) == 1 else keras.ops.mean(losses, -1)
