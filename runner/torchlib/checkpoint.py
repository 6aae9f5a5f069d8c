"""Checkpoints: all that a training needs to go on as if it had never stopped.

One is a folder ``step-N`` with the files of torch.distributed.checkpoint (weights and the
optimizer's state, each rank its part, under names that do not depend on how they are divided) and
``checkpoint.json`` (the step, and what is not a tensor).
"""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer

from runner.errors import StorageError, TaskError
from runner.storage import Place
from runner.torchlib import checkpoint_files as files
from runner.torchlib.engine import Engine

if TYPE_CHECKING:
    from runner.torchlib.weights import Copy

_MOST_FAILURES = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Progressed:
    """How far a training was: optimizer steps done, and what else it notes as plain numbers."""

    step: int
    notes: Mapping[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints of one training, written to ``folder`` while it goes on.

    ``copies`` of the weights are part of them. ``earlier`` are the folders of attempts before this
    one, the newest first. Writing is asynchronous: a step waits for the copy of the state, not for
    the disk, nor for storage at a URI.
    """

    def __init__(
        self,
        folder: Place,
        *,
        every_steps: int,
        keep: int,
        engine: Engine,
        optimizer: Optimizer,
        copies: Sequence[Copy] = (),
        earlier: Sequence[Place] = (),
    ) -> None:
        self.folder = folder
        self.every_steps = every_steps
        self.keep = keep
        self.earlier = earlier
        self._engine = engine
        self._optimizer = optimizer
        self._copies = copies
        self._rank = 0 if engine.is_alone else dist.get_rank()
        self.problems: list[str] = []
        self._failures = 0
        self._writing: Future[str | None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        # It is said for every checkpoint of one process, and from another thread.
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        # A group of its own: its messages come from another thread than the training's.
        self._group = None if engine.is_alone else dist.new_group(backend="gloo")

    def save_if_due(self, step: int, notes: Callable[[], Mapping[str, Any]]) -> None:
        """Starts to write a checkpoint if ``every_steps`` divides the step. Every rank calls it."""
        if step % self.every_steps:
            return
        self.finish()
        from torch.distributed.checkpoint.state_dict_saver import async_save

        unfinished = files.begin(self.folder, step)
        manifest = {
            "schema": 1,
            "step": step,
            "notes": dict(notes()),
            "precision": self._engine.precision.state(),
        }
        if isinstance(unfinished, Path):  # which must be there before anybody writes to it
            if self._rank == 0:
                files.make(unfinished)
            self._wait_for_all()
        saving = async_save(
            self._tensors(),
            storage_writer=files.writer(unfinished),
            process_group=self._group,
            no_dist=self._engine.is_alone,
        )
        self._writing = self._thread.submit(
            self._complete, unfinished, manifest, _random_state(), saving
        )

    def finish(self) -> None:
        """Waits for what is being written.

        What could not be is added to ``problems``, as the training can do without it. Raises
        TaskError for the third in a row. Every rank comes to the same.
        """
        if self._writing is None:
            return
        writing, self._writing = self._writing, None
        problem = writing.result()
        self._failures = 0 if problem is None else self._failures + 1
        if problem is None:
            return
        if self._failures == _MOST_FAILURES:
            raise TaskError(
                f"{problem}, nor could the {_MOST_FAILURES - 1} before it",
                hint="see whether there is room, and whether storage can be reached",
            )
        self.problems.append(problem)

    def _complete(
        self, unfinished: Place, manifest: dict[str, Any], random_state: dict[str, Any], saving: Any
    ) -> str | None:
        """Waits for the tensors, and makes a checkpoint of all; off the training's thread.

        Returns what went wrong on any rank.
        """

        def parts() -> None:
            saving.result()
            files.write(unfinished / _random_file(self._rank), random_state)

        def whole() -> None:
            if self._rank == 0:
                files.complete(unfinished, manifest, keep=self.keep)

        return self._done_by_all(unfinished, parts) or self._done_by_all(unfinished, whole)

    def _done_by_all(self, unfinished: Place, act: Callable[[], None]) -> str | None:
        """Every rank acts, and learns what went wrong on the first of those where something did."""
        from torch.distributed.checkpoint.api import CheckpointException

        said: list[str | None] = [None]
        try:
            act()
        except (CheckpointException, StorageError, OSError) as error:
            said[0] = f"the checkpoint {unfinished} can't be written: {_cause(error)}"
        if self._group is not None:
            own, said = said[0], [None] * dist.get_world_size(self._group)
            dist.all_gather_object(said, own, group=self._group)
        return next((each for each in said if each is not None), None)

    def restore(self) -> Progressed | None:
        """Takes up the newest checkpoint that is whole; None if there is none.

        Raises TaskError if one is whole but not of this training.
        """
        found: list[Place | None] = [None]
        if self._rank == 0:
            files.tidy(self.folder)
            found = [files.newest([self.folder, *self.earlier])]
        if not self._engine.is_alone:
            dist.broadcast_object_list(found, group=self._group)
        folder = found[0]
        if folder is None:
            return None
        from torch.distributed.checkpoint.api import CheckpointException
        from torch.distributed.checkpoint.state_dict_loader import load

        self._make_optimizer_state()
        tensors = self._tensors()
        try:
            load(
                tensors,
                storage_reader=files.reader(folder),
                process_group=self._group,
                no_dist=self._engine.is_alone,
            )
        except (CheckpointException, RuntimeError, ValueError) as error:
            if isinstance(_met(error), OSError | StorageError):
                raise TaskError(
                    f"the checkpoint {folder} can't be read: {_cause(error)}",
                    hint="see whether storage can be reached, and resume the run then",
                ) from error
            raise TaskError(
                f"the checkpoint {folder} is not of this training: {_cause(error)}",
                hint="delete it to start anew; the model or the optimizer has changed since",
            ) from error
        manifest = files.read(folder / files.MANIFEST)
        assert manifest is not None  # it was whole a moment ago
        self._engine.precision.restore(manifest["precision"])
        own = files.read(folder / _random_file(self._rank))
        if own is not None:
            _set_random_state(own)
        return Progressed(step=manifest["step"], notes=manifest["notes"])

    def _tensors(self) -> dict[str, Any]:
        """The tensors of this rank, by names that are the same however they are divided."""
        state = self._engine.local_state()
        names = {id(p): name for name, p in self._engine.model.named_parameters()}
        tensors = {f"model.{name}": value for name, value in state.items()}
        for copy in self._copies:
            tensors |= copy.tensors()
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                for key, value in self._optimizer.state.get(parameter, {}).items():
                    if isinstance(value, Tensor):
                        tensors[f"optimizer.{names[id(parameter)]}.{key}"] = value
        return tensors

    def _make_optimizer_state(self) -> None:
        """An optimizer makes its state with its first step; what that changes is loaded over."""
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        for parameter in parameters:
            parameter.grad = parameter.detach().clone().zero_()
        self._optimizer.step()
        for parameter in parameters:
            parameter.grad = None

    def _wait_for_all(self) -> None:
        if self._group is not None:
            dist.barrier(group=self._group)


def _random_file(rank: int) -> str:
    return f"random-{rank}.json"


def _met(error: BaseException) -> BaseException:
    """The error of the rank that met it first, of those that torch.distributed.checkpoint knows."""
    met: list[BaseException] = [each for each, _ in getattr(error, "failures", {}).values()]
    return (met or [error])[0]


def _cause(error: BaseException) -> str:
    return " ".join(str(_met(error)).split())


def _random_state() -> dict[str, Any]:
    """The state of Python's and NumPy's generators. PyTorch's is set anew for every step."""
    version, internal, gauss = random.getstate()
    state: dict[str, Any] = {"python": [version, list(internal), gauss]}
    if "numpy" in sys.modules:
        import numpy as np

        name, keys, position, has_gauss, cached = np.random.get_state()
        state["numpy"] = [name, [int(key) for key in keys], position, has_gauss, cached]
    return state


def _set_random_state(state: Mapping[str, Any]) -> None:
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    if "numpy" in state:
        import numpy as np

        np.random.set_state(tuple(state["numpy"]))
