"""A model as the graph of operators that torch.export makes of it, and what goes into that."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from runner.errors import TaskError
from runner.torchlib.artifact import LoadedModel
from runner.torchlib.lines import line_of_error, reason

# Unlike other lengths that models know, so that none is taken for the number of rows.
_TRIED_ROWS = 3


class Standardising(nn.Module):
    """A model with the standardisation of its data before it, so that it takes values as they are.

    ``mean`` and ``std`` are of the whole, or of as many features or channels as there are.
    """

    def __init__(self, model: nn.Module, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def forward(self, raw: Tensor) -> Tensor:
        """Raw samples (rows, features or channels, ...) to what the model makes of them."""
        shape = [1, -1] + [1] * (raw.ndim - 2)
        logits: Tensor = self.model((raw - self.mean.reshape(shape)) / self.std.reshape(shape))
        return logits


def with_preprocessing(loaded: LoadedModel) -> LoadedModel:
    """The same model, which takes samples as they are before its preprocessing.

    Raises TaskError if its data goes through none that could be put inside.
    """
    found: Mapping[str, Any] = loaded.preprocessing
    if "mean" not in found:
        raise TaskError(
            f"the data of the {loaded.spec} goes through no preprocessing that a file could hold",
            hint="leave 'preprocessing: inside' out",
        )
    inside = Standardising(loaded.model, mean=found["mean"], std=found["std"]).eval()
    return replace(loaded, model=inside)


def samples(loaded: LoadedModel, rows: int) -> Tensor:
    """So many samples of the shape and type that the model takes, all zero."""
    # Models of text take bytes, or numbers of words, as indices.
    numbers = torch.int64 if loaded.input_dtype in ("uint8", "int64") else torch.float32
    return torch.zeros(rows, *loaded.input_shape, dtype=numbers)


def exported(loaded: LoadedModel, *, batch_size: int | None = None) -> ExportedProgram:
    """The model's operators as a graph, with its weights.

    Without a ``batch_size`` it takes any number of rows. Raises TaskError, naming the line of the
    model's code, if the model does what no graph can hold.
    """
    inputs = (samples(loaded, batch_size or _TRIED_ROWS),)
    dynamic = None if batch_size else ({0: Dim("rows", min=1)},)
    try:
        return _export(loaded.model, inputs, dynamic, strict=False)
    except Exception as first:
        # Reading the code, and not running it, copes with more: the length of a tensor, for one.
        try:
            return _export(loaded.model, inputs, dynamic, strict=True)
        except Exception:
            where = line_of_error(first)
            raise TaskError(
                f"torch.export can't make a graph of the {loaded.spec}"
                f"{f', because of {where}' if where else ''}: {reason(first)}",
                hint="the model's code must do the same whatever the values are; with a batch_size "
                "it may depend on the number of rows",
            ) from first


def _export(
    model: nn.Module, inputs: tuple[Tensor], dynamic: Any, *, strict: bool
) -> ExportedProgram:
    # It warns of its own use of what is deprecated.
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return torch.export.export(model, inputs, dynamic_shapes=dynamic, strict=strict)
