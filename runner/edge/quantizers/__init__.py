"""Quantizers of exported models, a file for each runtime's own.

Each has ``quantize(source, target, recipe, samples)``, from an ONNX file that holds floats to a
file of the runtime.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from runner.errors import RunnerError, TaskError


@contextmanager
def told(who: str, scheme: str) -> Iterator[None]:
    """Around calls of a library alone: what it raises, of whatever type, as TaskError."""
    try:
        yield
    except RunnerError:
        raise
    except Exception as error:  # they raise what they like, assertions too
        said = " ".join(str(error).split())[:400]
        raise TaskError(
            f"{who} can't make {scheme} of it: {type(error).__name__}: {said}",
            hint="take another runtime or scheme, or leave the layer out by 'ignore'",
        ) from error
