"""Who teaches: a model of PyTorch, one that another runtime serves, or answers kept before."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from runner.data.channels import input_shape
from runner.data.classes import Array
from runner.data.described import Described, read_any
from runner.errors import TaskError
from runner.torchlib import kept_answers
from runner.torchlib.artifact import LoadedModel, check_data, load
from runner.torchlib.data import Dataset, origin_of
from runner.torchlib.kept_answers import KeptAnswers
from runner.torchlib.layout import arrange, place

# Targets whose logits are computed at once.
_AT_ONCE = 8192


class Served(Protocol):
    """A model that a runtime of its own runs, to be asked about arrays."""

    def use(self, inputs: Array) -> None:
        """Takes samples (rows, *shape), as the model does."""

    def outputs(self) -> Array:
        """Their outputs, (rows, ..., classes)."""


Serve = Callable[[Path], AbstractContextManager[Served]]
"""Starts what runs the model in a folder, for as long as a ``with`` lasts."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Teacher:
    """One who gives logits for samples; all that a student learns from is that.

    ``model`` is there where it can be asked anew in every step, ``kept`` where it is answers only,
    and ``serve`` where another runtime has to be asked.
    """

    folder: Path
    described: Described
    model: LoadedModel | None = None
    kept: KeptAnswers | None = None
    serve: Serve | None = None
    is_keras: bool = False

    def check(self, data: Dataset) -> None:
        """Raises TaskError unless it was made for ``data``, and what that holds out is new to it.

        The data must have been made ready in its way.
        """
        if self.model is not None:
            check_data(self.model, data)
        else:
            self.described.check(
                task=data.task,
                input_shape=input_shape(data) if self.is_keras else data.input_shape,  # type: ignore[arg-type]
                classes=data.classes,
                origin=origin_of(data),
            )
        if data.standardised_as(self.described.preprocessing) is not data:
            raise TaskError(
                "the teacher was trained on data that was standardised differently",
                hint="give the teacher and the student the same `data`",
            )
        if self.kept is not None:
            self.kept.check(data)

    def answering(self, stack: ExitStack, *, device: str) -> Answering:
        """What gives the logits of samples of the data, given their inputs and where they begin.

        What runs it ends with ``stack``.
        """
        if self.kept is not None:
            return self.kept.logits
        if self.model is not None:
            model = self.model.model
            return lambda inputs, start: teacher_logits(model, inputs, device=device)
        assert self.serve is not None
        server = stack.enter_context(self.serve(self.folder))
        form = self.described.form

        def ask(inputs: Tensor, start: int) -> Tensor:
            array = inputs.numpy()
            server.use(self.described.raw(array) if form and form.takes_raw else array)
            return torch.from_numpy(server.outputs())

        return ask


Answering = Callable[[Tensor, int], Tensor]
"""Inputs of some samples that follow each other, and the number of the first, to their logits."""


def find(folder: Path, serve: Serve) -> Teacher:
    """The teacher in ``folder``: a model's artifact in any form, or the answers of one.

    ``serve`` is for a model that is not PyTorch's own. Raises TaskError, naming the file, where one
    is missing or broken.
    """
    framework, described = read_any(folder)
    if kept_answers.is_one(folder):
        return Teacher(folder=folder, described=described, kept=kept_answers.open_kept(folder))
    if framework == "torch" and described.form is None:
        return Teacher(folder=folder, described=described, model=load(folder))
    return Teacher(folder=folder, described=described, serve=serve, is_keras=framework == "keras")


def of_model(loaded: LoadedModel) -> Teacher:
    """A model of PyTorch that is loaded already."""
    described = Described(**{**loaded.values(), "form": None})
    return Teacher(folder=Path(), described=described, model=loaded)


def teacher_logits(teacher: nn.Module, inputs: Tensor, *, device: str) -> Tensor:
    """The logits of ``teacher``, in eval mode, for each row of ``inputs``; they lie on the CPU."""
    layout = place(teacher, device)
    teacher.eval()
    with torch.no_grad():
        parts = [
            teacher(arrange(part.to(device), layout)).float().cpu()
            for part in torch.split(inputs, rows_at_once(inputs))
        ]
    return torch.cat(parts)


def rows_at_once(inputs: Tensor) -> int:
    """How many samples a teacher sees at once: fewer where each byte of a text has logits."""
    targets = inputs[0].numel() if inputs.dtype == torch.uint8 else 1
    return max(1, min(256, _AT_ONCE // targets))
