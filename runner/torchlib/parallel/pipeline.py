"""The engine of ranks that run stages of a model, and pass activations on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from runner.errors import TaskError
from runner.model import Widths
from runner.torchlib.batches import Portion
from runner.torchlib.data import Dataset
from runner.torchlib.layout import arrange
from runner.torchlib.measure import Score
from runner.torchlib.objectives import Objective, check_logits
from runner.torchlib.parallel import pp, tp
from runner.torchlib.parallel.chain import Chain
from runner.torchlib.parallel.mesh import MeshEngine, kept_loss, scored
from runner.torchlib.parallel.options import Options, ScheduleName
from runner.torchlib.parallel.world import gathered, rank_along


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """How a window runs through the stages: in ``microbatches`` of ``rows`` samples each."""

    microbatches: int
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Window:
    """What the last stage has to know of the window that runs: its columns and what counts."""

    columns: tuple[Tensor, ...]
    kept: list[int]
    objective: Objective | None = None
    factor: float = 1.0
    classes: int = 0


class PipelineEngine(MeshEngine):
    """A model in stages. Make one with ``parallel.engine.make_engine``."""

    is_padded = True

    def __init__(self, model: nn.Module, *, cut: Cut, chain: Chain, **settings: Any) -> None:
        self.cut = cut
        self._chain = chain
        super().__init__(model, **settings)

    def _divide(self, model: nn.Module, options: Options) -> nn.Module:
        widths, schedule = self.widths, options.pp_schedule
        if widths.tp > 1:
            model = tp.apply(model, self.mesh, self.precision, options)
        count = pp.count_stages(widths, schedule)
        by_stage = pp.cut(model, self._chain, count, options.pp_split)
        mine = pp.held(widths, schedule, rank_along(self.mesh, "pp"))
        self._is_last = count - 1 in mine
        self._pieces = [piece for index in mine for piece in by_stage[index]]
        stages: list[tuple[int, nn.Module]] = []
        for index in mine:
            stage: nn.Module = pp.Stage(
                [module for _, module in by_stage[index]], self.precision.autocast
            )
            for strategy in self.strategies:
                if strategy is not tp:  # which has divided the layers already, under their names
                    stage = strategy.apply(stage, self.mesh, self.precision, options)
            stages.append((index, stage))
        for _, piece in self._pieces:
            self._chain.share(model, piece)
        self._stages = nn.ModuleList(stage for _, stage in stages)
        self._holds_first = 0 in mine
        self._losses: dict[int, Tensor] = {}
        self._window = _Window(columns=(), kept=[])
        self._schedule: Any = pp.apply(
            stages,
            mesh=self.mesh,
            count=count,
            schedule=schedule,
            microbatches=self.cut.microbatches,
            device=self.device,
            loss=self._loss,
        )
        return self._stages

    def parameters(self) -> Iterable[nn.Parameter]:
        """Those of this rank's stages."""
        return self._stages.parameters()

    def exchange(self, *, now: bool) -> AbstractContextManager[object]:
        """The schedule's business."""
        return pp.exchange(self._stages, now=now)

    def whole(self, tensor: Tensor) -> Tensor:
        """A tensor of this rank's stages put together."""
        return pp.whole(super().whole(tensor))

    def backward(
        self, portions: list[Portion], objective: Objective, targets_in_window: int, classes: int
    ) -> list[Tensor]:
        """Runs the window through the stages; the losses are the last stage's."""
        # A scaler sets itself up with the first loss, which only the last stage sees.
        self.precision.scale(torch.zeros((), device=self.device))
        columns = tuple(
            torch.cat(parts) for parts in zip(*(p.columns for p in portions), strict=True)
        )
        window = _Window(
            columns=columns,
            kept=self._kept([(len(p.columns[0]), p.kept) for p in portions]),
            objective=objective,
            factor=self.share.count / targets_in_window,
            classes=classes,
        )
        with self.exchange(now=True):
            self._run(self._schedule.step, window)
        return list(self._losses.values())

    def rows_at_once(self, portions: list[Portion]) -> int:
        """Those of a micro-batch."""
        return self.cut.rows

    def _kept(self, portions: Sequence[tuple[int, int]]) -> list[int]:
        """How many rows of each micro-batch count, given rows and kept rows of each portion."""
        rows = self.cut.rows
        return [
            min(rows, max(0, kept - start))
            for length, kept in portions
            for start in range(0, length, rows)
        ]

    def _run(self, step: Any, window: _Window) -> None:
        self._window, self._losses = window, {}
        inputs = self.precision.inputs(window.columns[0])
        first = (inputs,) if self._holds_first else ()
        # The schedule cuts the target as it cuts the inputs: rows' numbers tell the loss which.
        target = torch.arange(len(inputs)) if self._is_last else None
        try:
            step(*first, target=target, return_outputs=False)
        except RuntimeError as error:
            # A stage says of whatever its forward pass raises that it failed, and no more.
            if isinstance(error.__cause__, torch.OutOfMemoryError):
                raise error.__cause__ from error
            raise
        self._window = _Window(columns=(), kept=[])

    def _loss(self, logits: Any, numbers: Tensor) -> Tensor:
        window, start = self._window, int(numbers[0])
        rows = slice(start, start + len(numbers))
        kept = window.kept[start // self.cut.rows]
        inputs, targets, *extra = (column[rows] for column in window.columns)
        if window.objective is None:
            self._losses[start] = scored(logits, targets, kept)
            nothing: Tensor = logits.sum() * 0.0
            return nothing
        check_logits(logits, targets, window.classes)
        loss = kept_loss(window.objective, logits, inputs, targets, tuple(extra), kept)
        # By row, as the schedule also calls this on memory not yet filled, to learn its shapes.
        self._losses[start] = loss.detach()
        return self.precision.scale(loss * window.factor)

    def score(self, data: Dataset) -> Score:
        """The held-out data run through the stages, each data-parallel rank's share."""
        self.share_buffers()
        self.model.eval()
        mine = self.cut.rows * self.cut.microbatches
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        with torch.no_grad():
            for start in range(0, len(data.test_inputs), mine * self.share.count):
                whole = torch.arange(start, min(start + mine * self.share.count,
                                                len(data.test_inputs)))  # fmt: skip
                own = torch.tensor_split(whole, self.share.count)[self.share.index]
                rows = torch.cat([own, whole]).repeat(-(-mine // len(whole)))[:mine]
                columns = (
                    arrange(data.test_inputs[rows].to(self.device), self.layout),
                    data.test_targets[rows].to(self.device),
                )
                window = _Window(columns=columns, kept=self._kept([(mine, len(own))]))
                self._run(self._schedule.eval, window)
                sums += sum(self._losses.values(), torch.zeros_like(sums))
        self.model.train()
        loss, correct = self.total(sums).tolist()
        count = data.test_targets.numel()
        return Score(loss=loss / count, accuracy=round(correct) / count)

    def local_state(self) -> dict[str, Any]:
        """The state of this rank's stages, under the whole model's names."""
        self.share_buffers()
        of_model = self.model.state_dict().keys()
        return {
            name: value
            for piece in self._pieces
            for name, value in self._chain.names(*piece)
            if name in of_model
        }

    def state(self) -> dict[str, Tensor] | None:
        """Put together within each stage, then sent to rank 0.

        What no stage runs, such as a head that only other trainings use, is as it was.
        """
        stage = {name: self.whole(value) for name, value in self.local_state().items()}
        is_lead = self.share.index == 0 and dist.get_rank() % self.widths.tp == 0
        parts = gathered(stage if is_lead else {})
        if parts is None:
            return None
        trained = {name: value for part in parts for name, value in part.items()}
        return {name: value.cpu() for name, value in self.model.state_dict().items()} | trained


def check_cut(rows: int, microbatches: int, widths: Widths, schedule: ScheduleName) -> None:
    """Raises TaskError unless the schedule can run so many micro-batches."""
    stages = pp.count_stages(widths, schedule)
    if microbatches < stages and schedule != "gpipe":
        raise TaskError(
            f"{schedule} needs at least {stages} micro-batches for {stages} stages, and a window "
            f"has {microbatches} of {rows} samples",
            hint="raise parallelism.microbatches or gradient_accumulation_steps",
        )
    rounds = max(1, microbatches // widths.pp)
    if stages > widths.pp and microbatches % rounds:
        raise TaskError(
            f"{schedule} sends micro-batches in {rounds} equal rounds, and a window has "
            f"{microbatches} of them",
            hint=f"take a number of micro-batches that {widths.pp} divides",
        )
