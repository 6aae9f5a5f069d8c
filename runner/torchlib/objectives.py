"""What a training minimises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from torch.nn import functional

from runner.errors import TaskError


class Objective(Protocol):
    """A loss, SUMMED over the targets of a batch, so that the loop can average over any window.

    ``columns`` are tensors with one row a training sample that it needs besides the targets; the
    loop gathers them with the batch. ``__call__`` gets the model's logits (samples, classes) or
    (samples, block_size, classes), the inputs, the targets, and the batch's rows of ``columns``.
    """

    @property
    def columns(self) -> tuple[Tensor, ...]:
        """Further tensors with one row a training sample."""

    def __call__(
        self, logits: Tensor, inputs: Tensor, targets: Tensor, columns: tuple[Tensor, ...]
    ) -> Tensor:
        """The summed loss, a scalar."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossEntropy:
    """Cross-entropy with the targets, which ``label_smoothing`` mixes with the uniform one."""

    label_smoothing: float = 0.0
    columns: tuple[Tensor, ...] = ()

    def __call__(
        self, logits: Tensor, inputs: Tensor, targets: Tensor, columns: tuple[Tensor, ...]
    ) -> Tensor:
        """The summed cross-entropy in nats."""
        return functional.cross_entropy(
            rows(logits),
            targets.flatten(),
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )


def rows(logits: Tensor) -> Tensor:
    """Logits with one row a target: (samples x block_size, classes) for a language model."""
    return logits if logits.ndim == 2 else logits.flatten(0, -2)


def check_logits(logits: Tensor, targets: Tensor, classes: int) -> None:
    """Raises TaskError unless there is one logit for each target and class."""
    expected = (*targets.shape, classes)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
        got = (
            f"shape {tuple(logits.shape)}"
            if isinstance(logits, Tensor)
            else f"a {type(logits).__name__}"
        )
        raise TaskError(
            f"the model gave {got} for a batch whose logits must have shape {expected}",
            hint="its last layer must have one output a class"
            if isinstance(logits, Tensor)
            else "return the logits alone from its forward",
        )


def check_embeddings(found: Tensor, samples: int) -> None:
    """Raises TaskError unless there is one vector for each sample."""
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != samples:
        got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise TaskError(
            f"the model gave {got} for {samples} samples without labels; expected a tensor of "
            f"shape ({samples}, width), a vector for each",
            hint="return the embeddings alone from its forward",
        )
