"""Labels as classes: which there are, which number each sample has, and a split that is fair."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from runner.errors import TaskError

Array: TypeAlias = NDArray[Any]

_LABEL_HINT = "name the column of classes with `label`"


def classes_of(
    labels: Array, known: tuple[str, ...] | None = None
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The classes that occur, sorted (numbers by value), and each sample's index into them.

    With ``known``, those are the classes, in that order, whether they occur or not. Raises
    TaskError for labels that are no classes: fractional numbers, only one class, about as many as
    there are samples, or one that is not among the known.
    """
    found, targets = np.unique(labels, return_inverse=True)
    names, numbers = named(found, samples=len(labels), known=known)
    return names, numbers[targets]


def named(
    found: Array, *, samples: int, known: tuple[str, ...] | None = None
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The classes, as for ``classes_of``, and the number of each of the labels ``found``.

    These are what the labels of so many ``samples`` are, each once and sorted.
    """
    if found.dtype.kind == "f":
        if not np.isfinite(found).all() or not np.all(found == np.floor(found)):
            raise TaskError(
                "the labels are fractional numbers, and only classification is known",
                hint=_LABEL_HINT,
            )
        found = found.astype(np.int64)
    names = tuple(str(value) for value in found.tolist())
    if known is not None:
        for name in names:
            if name not in known:
                raise TaskError(
                    f"the label '{_cut(name)}' is none of the model's classes: {_listed(known)}",
                    hint=f"drop the rows with other labels, or {_LABEL_HINT}",
                )
        return known, np.array([known.index(name) for name in names], dtype=np.int64)
    if len(found) < 2:
        raise TaskError(f"a classification needs at least two classes, the data has {len(found)}")
    if 2 * len(found) > samples:
        raise TaskError(
            f"{samples:,} samples have {len(found):,} different labels ({_listed(names)}): "
            "these are hardly classes",
            hint=f"{_LABEL_HINT}; a class needs several samples",
        )
    return names, np.arange(len(found))


def check_trained(
    train: NDArray[np.int64], test: NDArray[np.int64], classes: tuple[str, ...]
) -> None:
    """Raises TaskError if samples are held out of a class that has none for training."""
    unseen = sorted(set(test.tolist()) - set(train.tolist()))
    if unseen:
        names = tuple(classes[index] for index in unseen)
        raise TaskError(
            f"{len(unseen)} of {len(classes)} classes are held out for testing and have no sample "
            f"to train on: {_listed(names)}",
            hint=f"give more samples of each class, drop those of rare ones, or {_LABEL_HINT}",
        )


def split(
    targets: NDArray[np.int64], *, test_fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the training and of the held-out samples, each in rising order.

    ``ceil(samples * test_fraction)`` are held out, as in scikit-learn; what the classes' shares
    lack to that after rounding down goes to those with the largest remainders. With a fraction of
    one, all are. Raises TaskError if otherwise either part would be empty.
    """
    held_out = drawn(targets, math.ceil(len(targets) * test_fraction), seed=seed)
    train, test = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    if (not len(train) and test_fraction < 1.0) or not len(test):
        raise TaskError(
            f"{len(targets)} samples with test_fraction {test_fraction:g} leave {len(train)} for "
            f"training and {len(test)} held out",
            hint="give more samples, or another test_fraction",
        )
    return train, test


def drawn(targets: NDArray[np.int64], total: int, *, seed: int) -> NDArray[np.bool_]:
    """Which samples are among ``total`` that are drawn, of each class its share.

    What the shares lack to that after rounding down goes to those with the largest remainders.
    """
    # RandomState and not default_rng: its stream is frozen for good (NEP 19), and a split that
    # moved with numpy's version would make old and new results incomparable.
    order = np.random.RandomState(seed).permutation(len(targets))
    sizes = np.bincount(targets)
    shares, remainders = np.divmod(sizes * total, len(targets))
    lacking = total - int(shares.sum())
    shares[np.argsort(-remainders, kind="stable")[:lacking]] += 1
    found = np.zeros(len(targets), dtype=bool)
    for index, share in enumerate(shares):
        found[order[targets[order] == index][:share]] = True
    return found


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(_cut(name) for name in names[:8])
    return f"{shown}, ..." if len(names) > 8 else shown


def _cut(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:37]}..."
