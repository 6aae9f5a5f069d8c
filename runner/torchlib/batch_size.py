"""The batch that one forward pass sees: the most that fits, found by trying; halved if need be."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from runner.errors import OutOfMemory, TaskError
from runner.torchlib.batches import Portion
from runner.torchlib.data import Dataset
from runner.torchlib.engine import Engine
from runner.torchlib.layout import arrange
from runner.torchlib.objectives import Objective

_HINT = (
    "shard the model (parallelism: {strategy: fsdp}), recompute activations "
    "(activation_checkpointing: true), or take a device with more memory"
)
# Adam's two moments, which come with the first step and so after the trial.
_STATES = 2


def largest(candidates: list[int], fits: Callable[[int], bool]) -> int | None:
    """The largest of ascending ``candidates`` that ``fits``, if smaller ones do; None if none does.

    Doubles until one does not fit, and bisects between that and the one before.
    """
    good, bad = -1, len(candidates)
    index = 0
    while index < bad:
        if not fits(candidates[index]):
            bad = index
            break
        good = index
        at_least = 2 * candidates[index]
        index = next((i for i in range(index + 1, bad) if candidates[i] >= at_least), bad - 1)
        if index == good:
            break
    while bad - good > 1:
        middle = (good + bad) // 2
        if fits(candidates[middle]):
            good = middle
        else:
            bad = middle
    return candidates[good] if good >= 0 else None


def find_batch_size(engine: Engine, data: Dataset, objective: Objective, *, most: int) -> int:
    """The most samples, a divisor of ``most``, that a forward and backward pass has memory for.

    Every rank tries the same and takes what fits on all. Only a device with memory of its own says
    when that is too little; on a CPU it is ``most``. The model is left as it was. Raises
    OutOfMemory if a gang can't go on after the first that does not fit: another attempt begins
    with half of that. Raises TaskError if not even one sample fits.
    """
    divisors = [count for count in range(1, most + 1) if most % count == 0]
    buffers = [(buffer, buffer.clone()) for buffer in engine.model.buffers()]
    held = [torch.empty_like(p) for p in engine.parameters() for _ in range(_STATES)]

    def fits(count: int) -> bool:
        rows = torch.arange(count) % len(data.train_inputs)
        inputs, targets, *extra = (
            column[rows].to(engine.device)
            for column in (data.train_inputs, data.train_targets, *objective.columns)
        )
        portion = Portion((arrange(inputs, engine.layout), targets.long(), *extra), count)
        engine.model.train()
        try:
            does = engine.fits(portion, objective, len(data.classes))
        except torch.OutOfMemoryError as error:
            raise _ran_out(engine, count) from error
        _forget(engine)
        return does

    found = largest(divisors, fits)
    del held
    for buffer, before in buffers:
        buffer.copy_(before)
    if found is None:
        raise TaskError(
            f"not even one sample fits into the memory of {engine.device} beside the model",
            hint=_HINT,
        )
    return found


class Backward:
    """An engine's backward passes, in smaller portions from the first on that has no memory.

    ``parts`` is into how many each portion is cut by now. A gang's rank can't do so alone, as the
    others wait for as many passes as they make themselves: there another attempt begins with
    smaller portions.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.parts = 1

    def __call__(
        self, portions: list[Portion], objective: Objective, targets_in_window: int, classes: int
    ) -> list[Tensor]:
        """As ``Engine.backward``.

        Raises OutOfMemory where one sample is too many already, or where this is a rank of several.
        """
        while True:
            mine = portions if self.parts == 1 else _cut(portions, self.parts)
            rows = self._engine.rows_at_once(mine)
            try:
                return self._engine.backward(mine, objective, targets_in_window, classes)
            except torch.OutOfMemoryError as error:
                if rows == 1 or not self._engine.is_alone:
                    raise _ran_out(self._engine, rows) from error
                self.parts *= 2
            _forget(self._engine)


def _ran_out(engine: Engine, rows: int) -> OutOfMemory:
    samples = f"{rows} sample{'' if rows == 1 else 's'}"
    return OutOfMemory(
        f"{engine.device} ran out of memory with {samples} at once", rows=rows, hint=_HINT
    )


def _cut(portions: list[Portion], parts: int) -> list[Portion]:
    """Portions in parts of rows that are as even as can be; every row counts in each."""
    return [
        Portion(columns, len(columns[0]))
        for portion in portions
        for columns in zip(*(column.tensor_split(parts) for column in portion.columns), strict=True)
        if len(columns[0])
    ]


def _forget(engine: Engine) -> None:
    for parameter in engine.parameters():
        parameter.grad = None
    if engine.device != "cpu":
        torch.accelerator.empty_cache()
