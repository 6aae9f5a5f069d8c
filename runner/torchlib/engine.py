"""How the gradient of a window comes about: on one device here, on a gang in ``parallel``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from runner.torchlib.batches import Portion, Share
from runner.torchlib.data import Dataset
from runner.torchlib.layout import place
from runner.torchlib.measure import Score, score
from runner.torchlib.objectives import Objective, check_logits
from runner.torchlib.precision import Precision, in_full

Model: TypeAlias = nn.Module


class Engine(Protocol):
    """A model where it is trained, on one device or divided among ranks.

    ``model`` is the whole model's module tree, of which a rank may hold only a part or shards;
    ``share`` is the part of every batch that this rank takes.
    """

    model: nn.Module
    precision: Precision
    device: str
    layout: torch.memory_format
    share: Share
    is_padded: bool
    is_alone: bool

    def parameters(self) -> Iterable[nn.Parameter]:
        """The parameters, or shards of them, that this rank updates."""

    def backward(
        self, portions: list[Portion], objective: Objective, targets_in_window: int, classes: int
    ) -> list[Tensor]:
        """Leaves the gradient of the window's mean loss over all ranks in the parameters.

        Returns losses, detached, whose sum is this rank's part of the window's summed loss.
        Raises TaskError if the model's outputs are not logits of ``classes`` classes.
        """

    def fits(self, portion: Portion, objective: Objective, classes: int) -> bool:
        """Whether every rank has memory for a forward and backward pass of this portion.

        Raises torch.OutOfMemoryError where this rank has none and its gang can't go on after that.
        """

    def rows_at_once(self, portions: list[Portion]) -> int:
        """The most samples that one of the forward passes of ``backward`` sees."""

    def clip(self, parameters: list[nn.Parameter], max_norm: float) -> None:
        """Scales the gradients of all ranks down to this norm, if theirs is larger."""

    def agree_on_overflow(self, optimizer: Optimizer) -> None:
        """Makes every rank leave out the step if one found its unscaled gradients not finite."""

    def total(self, values: Tensor) -> Tensor:
        """The sum over all ranks of values that each part of the loss was counted in once."""

    def summing(self, values: Tensor) -> Callable[[], Tensor]:
        """Begins what ``total`` does, and returns what waits for it. Every rank must wait."""

    def score(self, data: Dataset) -> Score:
        """The score on the held-out data, the same on every rank."""

    def refresh(self) -> None:
        """Makes the next forward pass see what was written to this rank's part of the weights."""

    def local_state(self) -> dict[str, Tensor]:
        """What this rank holds of the model's state, whole or in shards, in the same memory."""

    def state(self) -> dict[str, Tensor] | None:
        """The whole model's state on rank 0, in plain tensors; None on every other rank."""


class Single:
    """The engine of one device, by default a CPU that computes in fp32.

    ``has_graphs`` says that the model was compiled into CUDA graphs.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        precision: Precision | None = None,
        device: str = "cpu",
        has_graphs: bool = False,
    ) -> None:
        self.model = model
        self._has_graphs = has_graphs
        self.precision = precision or Precision("fp32", device)
        self.device = device
        self.share = Share()
        self.is_padded = False
        self.is_alone = True
        self.precision.cast(model)
        self.layout = place(model, device)
        self._is_checked = False

    def parameters(self) -> Iterable[nn.Parameter]:
        """All of the model's."""
        return self.model.parameters()

    def backward(
        self, portions: list[Portion], objective: Objective, targets_in_window: int, classes: int
    ) -> list[Tensor]:
        """Adds up the gradients of the portions."""
        losses = []
        for index, ((inputs, targets, *extra), _) in enumerate(portions):
            if self._has_graphs:
                if index == 1:
                    self._keep_gradients()
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            with self.precision.autocast():
                logits = self.model(self.precision.inputs(inputs))
            if not self._is_checked:
                check_logits(logits, targets, classes)
                self._is_checked = True
            loss = objective(in_full(logits), inputs, targets, tuple(extra))
            # By the whole window's count, so that portions and short windows average rightly.
            self.precision.scale(loss / targets_in_window).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        return losses

    def _keep_gradients(self) -> None:
        """Moves gradients out of the graph's memory, to which the next pass writes its own.

        What is added to them then stays (pytorch/pytorch#169545).
        """
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                parameter.grad = parameter.grad.clone()

    def fits(self, portion: Portion, objective: Objective, classes: int) -> bool:
        """Whether this device has it."""
        try:
            self.backward([portion], objective, portion.columns[1].numel(), classes)
        except torch.OutOfMemoryError:
            return False
        return True

    def rows_at_once(self, portions: list[Portion]) -> int:
        """Those of the largest portion."""
        return max(len(portion.columns[0]) for portion in portions)

    def clip(self, parameters: list[nn.Parameter], max_norm: float) -> None:
        """As torch.nn.utils does."""
        nn.utils.clip_grad_norm_(parameters, max_norm)

    def agree_on_overflow(self, optimizer: Optimizer) -> None:
        """There is no other rank."""

    def total(self, values: Tensor) -> Tensor:
        """The values: there is no other rank."""
        return values

    def summing(self, values: Tensor) -> Callable[[], Tensor]:
        """The values: there is no other rank."""
        return partial(self.total, values)

    def score(self, data: Dataset) -> Score:
        """On this device."""
        return score(
            self.model, data, device=self.device, layout=self.layout, precision=self.precision
        )

    def refresh(self) -> None:
        """It sees them anyway."""

    def local_state(self) -> dict[str, Tensor]:
        """All of it."""
        return self.model.state_dict()

    def state(self) -> dict[str, Tensor] | None:
        """The model's own."""
        return self.model.state_dict()
