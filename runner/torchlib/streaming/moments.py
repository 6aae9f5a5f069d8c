"""What one pass over a data set tells of it, a part at a time, and how the parts are put together.

Mean and deviation are merged as Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise
algorithm for computing sample variances", equation 2.1, has it, in float64.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from runner.data.classes import Array
from runner.data.origin import DIGEST, digests
from runner.model import Columns

_SAMPLES = 2
_STANDARDISED_BYTES = 4_000_000


class Scale(NamedTuple):
    """Mean and deviation, of each feature or channel, that values are standardised with."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


def partial(
    inputs: Array,
    targets: NDArray[np.int64],
    classes: tuple[str, ...],
    is_train: NDArray[np.bool_],
    *,
    by_name: Array | None = None,
) -> Columns:
    """One row that sums up rows of raw ``inputs``, (rows, features) or (rows, channels, ...).

    ``is_train`` says which rows are for training. ``by_name`` are the features in the order of
    their names, in which a row's digest takes them.
    """
    train = inputs[is_train].astype(np.float32)
    axes = tuple(axis for axis in range(inputs.ndim) if axis != 1)
    count = train.size // inputs.shape[1]
    mean = np.zeros(inputs.shape[1])
    squares = np.zeros(inputs.shape[1])
    if count:
        mean = train.mean(axis=axes, dtype=np.float64)
        shape = (1, -1, *([1] * (inputs.ndim - 2)))
        squares = np.square(train - mean.reshape(shape)).sum(axis=axes)
    told = digests(inputs if by_name is None else inputs[:, by_name], targets, classes)
    return {
        "count": np.array([count]),
        "mean": _bytes(mean),
        "squares": _bytes(squares),
        "digests": _bytes(told),
        "held_out": _bytes(inputs[~is_train]),
        "samples": _bytes(inputs[is_train][:_SAMPLES]),
    }


@dataclass(slots=True)
class Scanned:
    """What the partials of a rank's reads amount to: rows in arrays, moments one by one.

    Moments stay apart until those of all ranks are together, so that their sum does not depend on
    how many ranks there are. Of ``held_out`` the first ``count_held_out`` rows are the rank's, raw
    values as float32; the others are room for what other ranks hold out.
    """

    moments: list[tuple[int, NDArray[np.float64], NDArray[np.float64]]]
    digests: Array
    held_out: NDArray[np.float32]
    count_held_out: int
    samples: Array


def scanned(
    blocks: Iterable[Columns],
    shape: tuple[int, ...],
    dtype: np.dtype[np.generic],
    *,
    held_out: int,
) -> Scanned:
    """What blocks of ``partial`` tell, of raw rows of this shape and type.

    All ranks together have so many ``held_out``.
    """
    moments = []
    told: list[bytes] = []
    rows_held_out = np.empty((held_out, *shape), dtype=np.float32)
    filled = 0
    samples: list[bytes] = []
    for block in blocks:
        for index, count in enumerate(block["count"].tolist()):
            mean, squares = (np.frombuffer(block[k][index]) for k in ("mean", "squares"))
            moments.append((count, mean.copy(), squares.copy()))
            told.append(bytes(block["digests"][index]))
            some = np.frombuffer(block["held_out"][index], dtype=dtype).reshape(-1, *shape)
            rows_held_out[filled : filled + len(some)] = some
            filled += len(some)
            if len(samples) < _SAMPLES:
                samples.append(bytes(block["samples"][index]))
    return Scanned(
        moments=moments,
        digests=np.frombuffer(b"".join(told), dtype=DIGEST),
        held_out=rows_held_out,
        count_held_out=filled,
        samples=np.frombuffer(b"".join(samples), dtype=dtype).reshape(-1, *shape),
    )


def scale_of(
    moments: Iterable[tuple[int, NDArray[np.float64], NDArray[np.float64]]],
) -> Scale:
    """Mean and deviation of all; what does not vary has a deviation of one."""
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    for more, its_mean, its_squares in moments:
        if not more:
            continue
        total = count + more
        apart = its_mean - mean
        mean = mean + apart * (more / total)
        squares = squares + its_squares + np.square(apart) * (count * more / total)
        count = total
    deviation = np.sqrt(squares / count)
    deviation[deviation == 0.0] = 1.0
    return Scale(tuple(mean.tolist()), tuple(deviation.tolist()))


def standardised(inputs: Array, scale: Scale) -> NDArray[np.float32]:
    """Raw ``inputs`` by feature or channel, as float32."""
    shape = (1, -1, *([1] * (inputs.ndim - 2)))
    mean, deviation = (np.array(values).reshape(shape) for values in scale)
    values: Array = (inputs.astype(np.float32) - mean) / deviation
    return values.astype(np.float32)


def standardise(rows: NDArray[np.float32], scale: Scale) -> None:
    """Puts in the place of raw ``rows`` what ``standardised`` makes of them.

    Some at a time: it computes in float64, of which all at once would take five times the rows.
    """
    at_once = max(1, _STANDARDISED_BYTES // max(1, rows[:1].nbytes))
    for start in range(0, len(rows), at_once):
        some = rows[start : start + at_once]
        some[:] = standardised(some, scale)


def _bytes(rows: Array) -> Array:
    """A column of one row, which holds ``rows`` whatever their shape is."""
    return np.array([np.ascontiguousarray(rows).tobytes()], dtype=object)
