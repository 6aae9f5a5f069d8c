"""A teacher's answers on disk, by the number of the sample: a folder that other students can use.

``model.json`` is the teacher's own, ``answers.json`` says what was kept and of which samples. In
``logits.npy`` are logits, float32 (samples, ..., classes). Else ``log_probabilities.npy`` holds
them softened, (samples, ..., classes), or beside ``classes.npy``, (samples, ..., k), those of k
classes and of all others together, (samples, ..., k + 1).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from runner.data.classes import Array
from runner.data.described import DESCRIPTION
from runner.errors import TaskError
from runner.torchlib.data import Dataset

ANSWERS = "answers.json"
_SCHEMA = 1
_LOGITS, _CLASSES, _SOFTENED = "logits.npy", "classes.npy", "log_probabilities.npy"


@dataclass(frozen=True, kw_only=True, slots=True)
class Softening:
    """What logits went through before they were kept; see ``soft_losses``."""

    temperature: float
    is_standardised: bool
    top_k: int | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KeptAnswers:
    """Answers in a folder, which stay there until they are looked at.

    ``columns`` are (logits,), (log-probabilities,) or (classes, log-probabilities); ``softening``
    is None for logits.
    """

    folder: Path
    columns: tuple[Tensor, ...]
    softening: Softening | None
    about: Mapping[str, Any]

    def check(self, data: Dataset) -> None:
        """Raises TaskError unless these are answers to the samples of ``data``, in their order."""
        if self.about["samples"] != digest_of(data):
            raise TaskError(
                f"the answers in {self.folder} are to other samples than those to train on",
                hint="give the same `data` as to the task that kept them",
            )

    def check_softening(self, wanted: Softening) -> None:
        """Raises TaskError unless answers that were softened were so as ``wanted``."""
        if self.softening is not None and self.softening != wanted:
            was = ", ".join(f"{key} {value}" for key, value in asdict(self.softening).items())
            raise TaskError(
                f"the answers in {self.folder} were kept with {was}",
                hint="give the same temperature, standardise_logits and teacher_top_k",
            )

    def logits(self, inputs: Tensor, start: int) -> Tensor:
        """The logits of samples that follow each other, from number ``start`` on."""
        if self.softening is not None:
            raise TaskError(
                f"the answers in {self.folder} are softened, and can't be put together with others",
                hint="name them as the only teacher",
            )
        return self.columns[0][start : start + len(inputs)]


def is_one(folder: Path) -> bool:
    """Whether answers are kept in ``folder``."""
    return (folder / ANSWERS).is_file()


def open_kept(folder: Path) -> KeptAnswers:
    """What is kept in ``folder``. Raises TaskError if it is broken or of another schema."""
    try:
        about = json.loads((folder / ANSWERS).read_text())
        softening = None if about["softening"] is None else Softening(**about["softening"])
        names = [_LOGITS] if softening is None else [_SOFTENED]
        if softening is not None and softening.top_k is not None:
            names = [_CLASSES, _SOFTENED]
        columns = tuple(_mapped(folder / name) for name in names)
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise TaskError(
            f"{folder} holds no answers of a teacher that can be read: {error}",
            hint="run the task that kept them again",
        ) from error
    if about.get("schema") != _SCHEMA:
        raise TaskError(f"{folder / ANSWERS} has schema {about.get('schema')}, not {_SCHEMA}")
    return KeptAnswers(folder=folder, columns=columns, softening=softening, about=about)


def _mapped(file: Path) -> Tensor:
    # Copy on write: a tensor wants memory that may be written to, and nothing ever is.
    return torch.from_numpy(np.load(file, mmap_mode="c"))


def keep(
    folder: Path,
    *,
    about: Mapping[str, Any],
    softening: Softening | None,
    description: Path,
    samples: int,
    compute: Callable[[int, int], tuple[Tensor, ...]],
    at_once: int,
    is_shared: bool,
) -> None:
    """Writes to ``folder`` the columns that ``compute`` gives for samples from one to another.

    The folder appears whole or not at all. With ``is_shared`` every rank of the gang reaches it and
    calls this: each computes its part. ``description`` is the teacher's ``model.json``.
    """
    ranks, rank = (dist.get_world_size(), dist.get_rank()) if is_shared else (1, 0)
    unfinished = folder.with_name(f".{folder.name}")
    first = compute(0, 1)
    names = [_LOGITS] if softening is None else [_SOFTENED]
    names = [_CLASSES, _SOFTENED] if len(first) == 2 else names
    if rank == 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for name, column in zip(names, first, strict=True):
            _open(unfinished / name, (samples, *column.shape[1:]), column.numpy().dtype)
    if is_shared:
        dist.barrier()
    files = [np.load(unfinished / name, mmap_mode="r+") for name in names]
    end = samples * (rank + 1) // ranks
    for start in range(samples * rank // ranks, end, at_once):
        stop = min(start + at_once, end)
        for file, column in zip(files, compute(start, stop), strict=True):
            file[start:stop] = column.numpy()
    for file in files:
        file.flush()
    if is_shared:
        dist.barrier()
    if rank == 0:
        shutil.copy(description, unfinished / DESCRIPTION)
        (unfinished / ANSWERS).write_text(
            json.dumps(
                {
                    "schema": _SCHEMA,
                    "softening": None if softening is None else asdict(softening),
                    **about,
                },
                indent=2,
            )
        )
        unfinished.replace(folder)
    if is_shared:
        dist.barrier()


def _open(file: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    made: Array = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
    del made


def digest_of(data: Dataset) -> str:
    """What tells the samples to train on, and their order."""
    inputs = np.ascontiguousarray(data.train_inputs.numpy())
    return hashlib.blake2b(inputs.reshape(-1).data, digest_size=16).hexdigest()


def digest_of_folder(folder: Path) -> str:
    """What tells the files of a teacher."""
    found = hashlib.blake2b(digest_size=16)
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        found.update(str(file.relative_to(folder)).encode())
        with file.open("rb") as opened:
            while part := opened.read(1 << 22):
                found.update(part)
    return found.hexdigest()
