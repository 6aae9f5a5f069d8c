"""A model of PyTorch as a LiteRT file (.tflite), by litert-torch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import torch
from torch.export import ExportedProgram

from runner.data.extras import need
from runner.errors import TaskError
from runner.torchlib.lines import line_of_error, reason


def write_litert(program: ExportedProgram, path: Path, *, what: str) -> None:
    """Writes a graph of operators of a fixed batch, of the model ``what``, to ``path``.

    Images stay channels first at its input. Raises TaskError if the package is missing, or
    litert-torch has none of an operator: the message names the line of the model's code if it can.
    """
    need("litert_torch", package="litert-torch", extra="litert", what=path.name)
    with _quiet():
        import litert_torch

        (taken,) = program.graph_signature.user_inputs
        given = next(node.meta["val"] for node in program.graph.nodes if node.name == taken)
        inputs = torch.zeros(tuple(given.shape), dtype=given.dtype)
        try:
            litert_torch.convert(program.module(), (inputs,)).export(str(path))
        except Exception as error:  # of MLIR, JAX or torch.export, which have no base in common
            where = line_of_error(error)
            raise TaskError(
                f"the {what} can't be written for LiteRT"
                f"{f', because of {where}' if where else ''}: {reason(error)}",
                hint="change that line, or choose a format that takes all of PyTorch's operators",
            ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the steps that it logs and prints, and warnings of its own code."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
