"""One forward pass of a model on two samples, before time is spent on it."""

from __future__ import annotations

import dis
import sysconfig
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor, nn

from runner.errors import TaskError
from runner.torchlib.data import Dataset
from runner.torchlib.objectives import check_embeddings, check_logits

_ROWS = 2
_LIBRARIES = tuple(
    Path(found) for name in ("purelib", "platlib", "stdlib") if (found := sysconfig.get_path(name))
)
# What PyTorch raises for a shape, a type or an index that an operator can't take.
_OF_INPUTS = (RuntimeError, ValueError, IndexError, AssertionError)


def try_out(model: nn.Module, data: Dataset) -> None:
    """Raises TaskError unless ``model`` gives for two samples what the data is about.

    That is a logit for each class or, for embeddings, a vector: said before time is spent. A model
    whose operators can't take the samples is told with their shape, and with the error as cause;
    what the model's own code raises is passed on. The model is left as it was.
    """
    inputs, targets = data.train_inputs[:_ROWS], data.train_targets[:_ROWS]
    was_training = model.training
    model.eval()
    # As in build: someone's model may draw numbers in any mode.
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            logits = model(inputs.long() if inputs.dtype == torch.uint8 else inputs)
        except _OF_INPUTS as error:
            if isinstance(error, torch.OutOfMemoryError | NotImplementedError):
                raise
            if _is_raised_by_users(error.__traceback__):
                raise
            raise _misfit(inputs, error) from error
    model.train(was_training)
    if data.task == "embedding":
        check_embeddings(logits, len(inputs))
    else:
        check_logits(logits, targets, len(data.classes))


def _is_raised_by_users(trace: TracebackType | None) -> bool:
    """Whether a ``raise`` or ``assert`` in code that is no library's raised it.

    An operator has no frame of its own: the last one is of who called it, at another instruction.
    """
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    code = trace.tb_frame.f_code
    if any(Path(code.co_filename).is_relative_to(library) for library in _LIBRARIES):
        return False
    return code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def _misfit(inputs: Tensor, error: BaseException) -> TaskError:
    said = " ".join(str(error).split())[:400] or "nothing more"
    held = f"{inputs.dtype}".removeprefix("torch.")
    if not inputs.is_floating_point():
        held += f" up to {inputs.max()}"
    return TaskError(
        f"the model can't take the data: its samples have shape {tuple(inputs.shape[1:])}, of "
        f"{held}, and with {len(inputs)} of them, {tuple(inputs.shape)}, the model raised "
        f"{type(error).__name__}: {said}",
        hint="give data of the shape that the model is made for, or have the factory wrap the "
        "model in one that brings such samples into it",
    )
