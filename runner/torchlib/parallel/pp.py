"""Pipeline parallel: ranks hold consecutive layers and pass activations on.

GPipe (Huang et al. 2019), 1F1B (Narayanan et al. 2019), interleaved 1F1B (Narayanan et al. 2021)
and interleaved zero bubble (Qi et al. 2023), as torch.distributed.pipelining has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.pipelining import (
    PipelineStage,
    Schedule1F1B,
    ScheduleGPipe,
    ScheduleInterleaved1F1B,
    ScheduleInterleavedZeroBubble,
)

from runner.errors import TaskError
from runner.model import Widths
from runner.torchlib.parallel.chain import Chain, Named
from runner.torchlib.parallel.options import Options, ScheduleName

_SINGLE = {"gpipe": ScheduleGPipe, "1f1b": Schedule1F1B}
_MULTIPLE = {
    "interleaved-1f1b": ScheduleInterleaved1F1B,
    "zero-bubble": ScheduleInterleavedZeroBubble,
}
# Stages a rank holds under a schedule of several.
_STAGES_PER_RANK = 2


class _Unmarked(PipelineStage):
    """A stage on which it leaves no mark that its shapes are learnt.

    For that the layers are run on memory that holds anything, which statistics of batch norm and
    the state of the random numbers are not to see.
    """

    def _compute_outputs(self, *args: Tensor, module: nn.Module, **kwargs: Any) -> Any:
        buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            outputs = super()._compute_outputs(*args, module=module, **kwargs)
        for buffer, before in buffers:
            buffer.data.copy_(before)  # as data, for the backward pass that follows
        return outputs


class _Travelled(torch.autograd.Function):
    """What came from another stage, whose gradient travels back: contiguous, as gloo needs it."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        return gradient.contiguous()


class Stage(nn.Module):
    """Consecutive pieces of a model, run in order within the context that ``autocast`` makes."""

    def __init__(
        self, pieces: Sequence[nn.Module], autocast: Callable[[], AbstractContextManager[object]]
    ) -> None:
        super().__init__()
        self.pieces = nn.ModuleList(pieces)
        self.autocast = autocast

    def forward(self, *values: Tensor) -> Any:
        """What the last piece makes of what the first gets: a tensor, or several that travel on."""
        given = tuple(
            _Travelled.apply(value) if value.requires_grad else value  # type: ignore[no-untyped-call]
            for value in values
        )
        x: Any = given[0] if len(given) == 1 else given
        with self.autocast():
            for piece in self.pieces:
                x = piece(x)
        return tuple(map(_to_travel, x)) if isinstance(x, tuple) else _to_travel(x)


def _to_travel(value: Tensor) -> Tensor:
    """Contiguous, as gloo needs it; with a gradient, and no view, as zero bubble does."""
    if torch.is_grad_enabled() and not value.requires_grad and value.is_floating_point():
        value = value.detach().requires_grad_()
    value = value.contiguous()
    return value.clone() if value._is_view() else value


def check(model: nn.Module, chain: Chain, widths: Widths, options: Options) -> None:
    """Raises TaskError unless the model's chain can be cut into as many stages."""
    schedule, split = options.pp_schedule, options.pp_split
    parts = chain.pieces(model)
    names = [name for name, _ in parts]
    stages = count_stages(widths, schedule)
    for name in split:
        if not chain.find(name, parts):
            raise TaskError(
                f"the model can't be cut before '{name}', which pp_split names",
                hint=f"it can be cut before {', '.join(names[1:])}",
            )
    if split and len(split) != stages - 1:
        raise TaskError(
            f"pp_split names {len(split)} cuts, and {stages} stages have {stages - 1}",
            hint=f"pp: {widths.pp} with {schedule} makes {stages} stages",
        )
    if len(parts) < stages:
        raise TaskError(
            f"the model has {len(parts)} parts, too few for {stages} stages",
            hint="take a smaller pp or a deeper model",
        )
    _check_apart(chain, cut(model, chain, stages, split))


def _check_apart(chain: Chain, by_stage: Sequence[Sequence[Named]]) -> None:
    """Raises TaskError if two stages would hold, and train, one and the same weight."""
    seen: dict[int, tuple[int, str, str]] = {}
    for index, stage in enumerate(by_stage):
        for part, piece in stage:
            for name, parameter in piece.named_parameters():
                mine = chain.name(part, name)
                where, theirs, other = seen.setdefault(id(parameter), (index, mine, part))
                if where == index:
                    continue
                both = f"'{mine}'" if mine == theirs else f"'{theirs}' and '{mine}', one weight,"
                raise TaskError(
                    f"{both} would lie in two stages: {other} and {part} use it",
                    hint="choose stages by pp_split so that one has both, or give each a weight "
                    "of its own (gpt: args: {tied: false})",
                )


def count_stages(widths: Widths, schedule: ScheduleName) -> int:
    """How many stages the ranks hold together."""
    return widths.pp * (_STAGES_PER_RANK if schedule in _MULTIPLE else 1)


def cut(
    model: nn.Module, chain: Chain, stages: int, split: Sequence[str] = ()
) -> list[list[Named]]:
    """The model's pieces by stage: cut before those named, or so that the largest stage is least.

    A piece weighs its parameters and a little for itself.
    """
    parts = chain.pieces(model)
    if split:
        named = [chain.find(name, parts) for name in split]
        at = [0, *sorted(index for index in named if index), len(parts)]
        return [parts[start:end] for start, end in pairwise(at)]
    weights = [1 + sum(p.numel() for p in piece.parameters()) for _, piece in parts]
    return [parts[start:end] for start, end in _even(weights, stages)]


def _even(weights: list[int], stages: int) -> list[tuple[int, int]]:
    """Cuts of a sequence into ``stages`` runs, none empty, whose heaviest is as light as can be."""
    count = len(weights)
    before = [0]
    for weight in weights:
        before.append(before[-1] + weight)
    # best[k][i]: the heaviest of k runs that hold the first i; and where the last of them starts.
    best = [[(before[i], 0) for i in range(count + 1)]]
    for k in range(1, stages):
        best.append(
            [
                min((max(best[k - 1][j][0], before[i] - before[j]), j) for j in range(k, i))
                if i > k
                else (before[-1] + 1, 0)
                for i in range(count + 1)
            ]
        )
    ends = [count]
    for k in range(stages - 1, 0, -1):
        ends.append(best[k][ends[-1]][1])
    ends.append(0)
    ends.reverse()
    return list(pairwise(ends))


def held(widths: Widths, schedule: ScheduleName, pp_rank: int) -> list[int]:
    """The stages that a rank holds: one, or several that lie apart."""
    return list(range(pp_rank, count_stages(widths, schedule), widths.pp))


def apply(
    stages: list[tuple[int, nn.Module]],
    *,
    mesh: DeviceMesh,
    count: int,
    schedule: ScheduleName,
    microbatches: int,
    device: str,
    loss: Callable[[Any, Tensor], Tensor],
) -> Any:
    """The schedule that runs this rank's stages; its ``step`` is one window.

    Gradients are summed over micro-batches: ``loss`` has divided by the window's count already.
    """
    made = [
        _Unmarked(module, index, count, torch.device(device), group=mesh["pp"].get_group())
        for index, module in stages
    ]
    if schedule in _SINGLE:
        return _SINGLE[schedule](made[0], microbatches, loss_fn=loss, scale_grads=False)
    return _MULTIPLE[schedule](made, microbatches, loss_fn=loss, scale_grads=False)  # type: ignore[arg-type]


def exchange(model: nn.Module, *, now: bool) -> AbstractContextManager[object]:
    """The schedule itself lets gradients travel with the last micro-batch."""
    return nullcontext()


def whole(tensor: Tensor) -> Tensor:
    """A stage holds its tensors whole."""
    return tensor.detach()
