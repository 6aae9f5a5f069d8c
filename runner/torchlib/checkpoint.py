"""Checkpoints: all that a training needs to go on as if it had never stopped.

One is a folder ``step-N`` with the files of torch.distributed.checkpoint (weights and the
optimizer's state, each rank its part, under names that do not depend on how they are divided) and
``checkpoint.json`` (the step, and what is not a tensor). It appears under its name when every file
is whole; the sizes in ``checkpoint.json`` tell if one was cut short afterwards.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer

from runner.errors import TaskError
from runner.torchlib.engine import Engine

if TYPE_CHECKING:
    from runner.torchlib.weights import Copy

MANIFEST = "checkpoint.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progressed:
    """How far a training was: optimizer steps done, and what else it notes as plain numbers."""

    step: int
    notes: Mapping[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints of one training, written to ``folder`` while it goes on.

    ``copies`` of the weights are part of them. ``earlier`` are the folders of attempts before this
    one, the newest first. Writing is asynchronous: a step waits for the copy of the state, not for
    the disk.
    """

    def __init__(
        self,
        folder: Path,
        *,
        every_steps: int,
        keep: int,
        engine: Engine,
        optimizer: Optimizer,
        copies: Sequence[Copy] = (),
        earlier: Sequence[Path] = (),
    ) -> None:
        self.folder = folder
        self.every_steps = every_steps
        self.keep = keep
        self.earlier = earlier
        self._engine = engine
        self._optimizer = optimizer
        self._copies = copies
        self._rank = 0 if engine.is_alone else dist.get_rank()
        self._writing: Future[Any] | None = None
        self._unfinished: tuple[Path, dict[str, Any]] | None = None
        # It is said for every checkpoint of one process, and from another thread.
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        # A group of its own: its messages come from another thread than the training's.
        self._group = None if engine.is_alone else dist.new_group(backend="gloo")

    def save_if_due(self, step: int, notes: Callable[[], Mapping[str, Any]]) -> None:
        """Starts to write a checkpoint if ``every_steps`` divides the step. Every rank calls it."""
        if step % self.every_steps:
            return
        self.finish()
        from torch.distributed.checkpoint.filesystem import FileSystemWriter
        from torch.distributed.checkpoint.state_dict_saver import async_save

        unfinished = self.folder / f".step-{step:08d}"
        if self._rank == 0:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
        self._wait_for_all()
        (unfinished / f"random-{self._rank}.json").write_text(json.dumps(_random_state()))
        self._unfinished = (
            unfinished,
            {
                "schema": 1,
                "step": step,
                "notes": dict(notes()),
                "precision": self._engine.precision.state(),
            },
        )
        self._writing = async_save(
            self._tensors(),
            storage_writer=FileSystemWriter(unfinished),
            process_group=self._group,
            no_dist=self._engine.is_alone,
        )  # type: ignore[assignment]

    def finish(self) -> None:
        """Waits for what is being written, gives it its name, and deletes what is not kept."""
        if self._writing is None or self._unfinished is None:
            return
        self._writing.result()
        self._writing = None
        folder, manifest = self._unfinished
        self._wait_for_all()
        if self._rank == 0:
            manifest["files"] = {
                path.name: path.stat().st_size for path in sorted(folder.iterdir())
            }
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))
            final = folder.with_name(folder.name.removeprefix("."))
            if final.exists():
                shutil.rmtree(final)
            folder.replace(final)
            for old in sorted(self.folder.glob("step-*"))[: -self.keep]:
                shutil.rmtree(old)

    def restore(self) -> Progressed | None:
        """Takes up the newest checkpoint that is whole; None if there is none.

        Raises TaskError if one is whole but not of this training.
        """
        found = [newest([self.folder, *self.earlier]) if self._rank == 0 else None]
        if not self._engine.is_alone:
            dist.broadcast_object_list(found, group=self._group)
        folder = found[0]
        if folder is None:
            return None
        from torch.distributed.checkpoint.api import CheckpointException
        from torch.distributed.checkpoint.filesystem import FileSystemReader
        from torch.distributed.checkpoint.state_dict_loader import load

        self._make_optimizer_state()
        tensors = self._tensors()
        try:
            load(
                tensors,
                storage_reader=FileSystemReader(folder),
                process_group=self._group,
                no_dist=self._engine.is_alone,
            )
        except (CheckpointException, RuntimeError, ValueError) as error:
            raise TaskError(
                f"the checkpoint {folder} is not of this training: {str(error).splitlines()[0]}",
                hint="delete it to start anew; the model or the optimizer has changed since",
            ) from error
        manifest = json.loads((folder / MANIFEST).read_text())
        self._engine.precision.restore(manifest["precision"])
        own = folder / f"random-{self._rank}.json"
        if own.is_file():
            _set_random_state(json.loads(own.read_text()))
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


def newest(folders: Sequence[Path]) -> Path | None:
    """The checkpoint of the most steps below ``folders`` of which every file is whole."""
    found = sorted(
        (path for folder in folders for path in folder.glob("step-*")),
        key=lambda path: path.name,
        reverse=True,
    )
    return next((path for path in found if is_whole(path)), None)


def is_whole(folder: Path) -> bool:
    """Whether every file of the checkpoint is there in the length it was written with."""
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
        return all((folder / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError):
        return False


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
