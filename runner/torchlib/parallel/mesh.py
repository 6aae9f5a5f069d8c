"""The engine of ranks that each run the whole forward pass: data, sharded and tensor parallel."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor
from torch.nn import functional
from torch.optim import Optimizer

from runner.model import Widths
from runner.torchlib.batches import Portion, Share
from runner.torchlib.data import Dataset
from runner.torchlib.layout import arrange, local, place
from runner.torchlib.measure import Score, evaluation_batch
from runner.torchlib.objectives import Objective, check_logits, rows
from runner.torchlib.parallel import ddp, fsdp, tp
from runner.torchlib.parallel.options import Options
from runner.torchlib.parallel.world import names_of, rank_along
from runner.torchlib.precision import Precision, in_full


class Strategy(Protocol):
    """A module of this package that divides a model: one file each."""

    def check(self, model: nn.Module, widths: Widths, options: Options) -> None:
        """Raises TaskError if the model can't be divided so."""

    def apply(
        self, model: nn.Module, mesh: DeviceMesh, precision: Precision, options: Options
    ) -> nn.Module:
        """The model, divided."""

    def exchange(self, model: nn.Module, *, now: bool) -> AbstractContextManager[object]:
        """The context of a forward and backward pass, in which gradients travel ``now`` or not."""

    def whole(self, tensor: Tensor) -> Tensor:
        """A divided tensor put together."""


def strategies(widths: Widths) -> list[Strategy]:
    """What divides a model that has no stages, in the order in which they do."""
    divided: list[Strategy] = [tp] if widths.tp > 1 else []
    if widths.strategy == "fsdp":
        divided.append(fsdp)
    elif widths.dp > 1:
        divided.append(ddp)
    return divided


class MeshEngine:
    """A model on a mesh without stages. Make one with ``parallel.engine.make_engine``."""

    is_padded = False
    is_alone = False

    def __init__(
        self,
        model: nn.Module,
        *,
        widths: Widths,
        mesh: DeviceMesh,
        precision: Precision,
        device: str,
        options: Options,
    ) -> None:
        self.model = model
        self.widths = widths
        self.precision = precision
        self.device = device
        replica, shard = (rank_along(mesh, name) for name in ("dp_replicate", "dp_shard"))
        self.mesh = mesh
        self.share = Share(replica * widths.dp_shard + shard, widths.dp)
        precision.cast(model)
        self.layout = place(model, device)
        if widths.strategy == "fsdp" and self.layout is not torch.contiguous_format:
            self.layout = torch.contiguous_format  # FSDP shards no other (torch 2.13)
            model.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.strategies = strategies(widths)
        self.run = self._divide(model, options)
        self._is_checked = False

    def _divide(self, model: nn.Module, options: Options) -> nn.Module:
        for strategy in self.strategies:
            model = strategy.apply(model, self.mesh, self.precision, options)
        return model

    def exchange(self, *, now: bool) -> AbstractContextManager[object]:
        """The context of a forward and backward pass, in which gradients travel ``now`` or not."""
        contexts = ExitStack()
        for strategy in self.strategies:
            contexts.enter_context(strategy.exchange(self.run, now=now))
        return contexts

    def whole(self, tensor: Tensor) -> Tensor:
        """A tensor of the model put together, on every rank that holds a part of it."""
        for strategy in reversed(self.strategies):
            tensor = strategy.whole(tensor)
        return tensor.cpu()

    def parameters(self) -> Iterable[nn.Parameter]:
        """Those of this rank, some of them shards."""
        return self.model.parameters()

    def backward(
        self, portions: list[Portion], objective: Objective, targets_in_window: int, classes: int
    ) -> list[Tensor]:
        """Adds up the gradients of the portions; they travel once, with the last."""
        return self._backward(portions, objective, targets_in_window, classes, len(portions) - 1)

    def _backward(
        self,
        portions: list[Portion],
        objective: Objective,
        targets_in_window: int,
        classes: int,
        exchanged_with: int | None,
    ) -> list[Tensor]:
        losses = []
        for index, ((inputs, targets, *extra), kept) in enumerate(portions):
            with self.exchange(now=index == exchanged_with):
                with self.autocast():
                    logits = self.run(self.precision.inputs(inputs))
                if not self._is_checked:
                    check_logits(logits, targets, classes)
                    self._is_checked = True
                loss = kept_loss(objective, logits, inputs, targets, tuple(extra), kept)
                # Data-parallel ranks average their gradients, and we want the sum.
                mean = loss * (self.share.count / targets_in_window)
                self.precision.scale(mean).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        return losses

    def fits(self, portion: Portion, objective: Objective, classes: int) -> bool:
        """Whether all ranks have it, which whole copies find out each for itself.

        Ranks that divide the model talk within the pass: one that has no memory leaves the others
        waiting, and FSDP does not recover from a pass cut short (torch 2.13).
        """
        are_copies = self.strategies == [ddp]
        targets, ran_out = portion.columns[1].numel(), 0.0
        try:
            self._backward([portion], objective, targets, classes, None if are_copies else 0)
        except torch.OutOfMemoryError:
            if not are_copies:
                raise
            ran_out = 1.0
        return self.total(torch.tensor(ran_out)).item() == 0

    def rows_at_once(self, portions: list[Portion]) -> int:
        """Those of the largest portion."""
        return max(len(portion.columns[0]) for portion in portions)

    def autocast(self) -> AbstractContextManager[object]:
        """FSDP brings its own half precision."""
        return ExitStack() if self.widths.strategy == "fsdp" else self.precision.autocast()

    def clip(self, parameters: list[nn.Parameter], max_norm: float) -> None:
        """By the norm of the whole gradient, in which no shard or copy counts twice."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        copies = self.widths.size // self.widths.pp
        squares = torch.zeros((), device=self.device)
        for gradient in gradients:
            shards = 1
            if isinstance(gradient, DTensor):
                shards = math.prod(
                    gradient.device_mesh.size(dimension)
                    for dimension, placement in enumerate(gradient.placements)
                    if not placement.is_replicate()
                )
            squares += local(gradient).float().square().sum().to(self.device) * (shards / copies)
        dist.all_reduce(squares)
        # As torch.nn.utils.clip_grad_norm_ has it.
        factor = (max_norm / (squares.sqrt() + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            part = local(gradient)
            part.mul_(factor.to(part.device, part.dtype))

    def agree_on_overflow(self, optimizer: Optimizer) -> None:
        """A step is left out by all ranks or by none."""
        scaler = self.precision.scaler
        assert scaler is not None
        for found in scaler._found_inf_per_device(optimizer).values():
            dist.all_reduce(found, op=dist.ReduceOp.MAX)

    def total(self, values: Tensor) -> Tensor:
        """The sum over ranks; those of tp have the same values."""
        return self.summing(values)()

    def summing(self, values: Tensor) -> Callable[[], Tensor]:
        """The sum travels while this rank goes on."""
        summed = values.to(self.device)
        work = dist.all_reduce(summed, async_op=True)

        def wait() -> Tensor:
            work.wait()
            return summed / self.widths.tp

        return wait

    def share_buffers(self) -> None:
        """Gives every rank the buffers of the first: of a model that is kept, its are kept.

        Each rank's batch norm has seen other samples. Its running statistics play no part in
        training, but in every score, and in a checkpoint.
        """
        for dimension in ("tp", "dp_shard", "dp_replicate"):
            if dimension in names_of(self.mesh):
                group = self.mesh[dimension].get_group()
                for buffer in self.run.buffers():
                    dist.broadcast(buffer, group=group, group_src=0)

    def score(self, data: Dataset) -> Score:
        """Every rank scores its share of the held-out data."""
        self.share_buffers()
        self.model.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        with torch.no_grad():
            for inputs, targets, kept in self._held_out(data):
                with self.autocast():
                    logits = self.run(self.precision.inputs(inputs))
                sums += scored(logits, targets, kept)
        self.model.train()
        loss, correct = self.total(sums).tolist()
        count = data.test_targets.numel()
        return Score(loss=loss / count, accuracy=round(correct) / count)

    def _held_out(self, data: Dataset) -> Iterator[tuple[Tensor, Tensor, int]]:
        at_once = evaluation_batch(data) * self.share.count
        for inputs, targets in zip(
            torch.split(data.test_inputs, at_once),
            torch.split(data.test_targets, at_once),
            strict=True,
        ):
            mine = torch.tensor_split(inputs, self.share.count)[self.share.index]
            kept = len(mine)
            if kept:
                wanted = torch.tensor_split(targets, self.share.count)[self.share.index]
            else:  # every rank takes part in every forward pass
                mine, wanted = inputs[:1], targets[:1]
            yield arrange(mine.to(self.device), self.layout), wanted.to(self.device), kept

    def refresh(self) -> None:
        """Frees what FSDP holds gathered, which it would not gather again."""
        if self.widths.strategy == "fsdp":
            fsdp.refresh(self.run)

    def state(self) -> dict[str, Tensor] | None:
        """Put together on every rank, kept by rank 0."""
        gathered = {name: self.whole(value) for name, value in self.model.state_dict().items()}
        return gathered if dist.get_rank() == 0 else None

    def local_state(self) -> dict[str, Any]:
        """What this rank holds of the model's state, under the whole model's names."""
        self.share_buffers()
        return self.model.state_dict()


def kept_loss(
    objective: Objective,
    logits: Tensor,
    inputs: Tensor,
    targets: Tensor,
    columns: tuple[Tensor, ...],
    kept: int,
) -> Tensor:
    """The summed loss of the first ``kept`` rows, with a gradient (of zeros) even if none count."""
    logits = in_full(logits)
    if kept == 0:
        return logits.sum() * 0.0
    if kept == len(targets):
        return objective(logits, inputs, targets, columns)
    return objective(
        logits[:kept], inputs[:kept], targets[:kept], tuple(column[:kept] for column in columns)
    )


def scored(logits: Tensor, targets: Tensor, kept: int) -> Tensor:
    """Summed cross-entropy and correct answers of the first ``kept`` rows, as float64."""
    given, expected = rows(in_full(logits)[:kept]), targets[:kept].flatten().long()
    loss = functional.cross_entropy(given, expected, reduction="sum")
    correct = (given.argmax(1) == expected).sum()
    return torch.stack([loss.double(), correct.double()])
