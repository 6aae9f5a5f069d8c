"""Quantizers of exported models, a file for each runtime's own.

Each has ``quantize(source, target, recipe, samples)``, from an ONNX file that holds floats to a
file of the runtime.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from runner.data.classes import Array
from runner.errors import RunnerError, TaskError


def full_batches(samples: Array, rows: int) -> list[Array]:
    """``samples`` in batches of ``rows``; the last is filled up with the first of them."""
    short = -len(samples) % rows
    return np.split(
        np.resize(samples, (len(samples) + short, *samples.shape[1:])),
        range(rows, len(samples), rows),
    )


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
