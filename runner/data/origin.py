"""Where samples come from, told by their content: so that nothing is measured on what it has seen.

A model keeps the origin of what it was trained on. When it is measured later, on the same data cut
in another way, some of the rows that count as held out were trained on, and this is where it shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runner.data.classes import Array
from runner.errors import TaskError

# Texts that begin alike over this many bytes are taken for the same, longer or shorter.
_BEGINNING_BYTES = 4096

DIGEST = np.dtype(">u8")
"""Of one sample's eight bytes; their first counts most, so that they sort as bytes do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Which samples there are, and which of them are for training.

    ``samples``, ``train`` and ``test`` are fingerprints of all samples, of those for training and
    of those held out. Samples are told by their values and labels, so that neither their order nor
    the format of the file matters. ``test_fraction`` and ``seed`` say how the held-out ones were
    chosen; both are None for data that came with a split.

    For a text, ``samples`` stands for its beginning, and training ends at byte ``train_bytes``.
    """

    samples: str
    train: str
    test: str
    train_samples: int
    test_samples: int
    test_fraction: float | None = None
    seed: int | None = None
    train_bytes: int | None = None


def digests(
    inputs: Array, targets: NDArray[np.int64], classes: Sequence[str]
) -> NDArray[np.uint64]:
    """Eight bytes for each sample, from its values and the name of its class."""
    # Zero has two signs in floating point, and they are the same value.
    rows = np.ascontiguousarray(inputs, dtype=np.float32).reshape(len(inputs), -1) + 0.0
    names = [name.encode() for name in classes]
    found = b"".join(
        hashlib.blake2b(names[target] + b"\0" + row.tobytes(), digest_size=8).digest()
        for row, target in zip(rows, targets.tolist(), strict=True)
    )
    return np.frombuffer(found, dtype=DIGEST)


def fingerprint(rows: NDArray[np.uint64]) -> str:
    """One text for samples in any order, from the digests of each."""
    return fingerprint_of_bytes(np.sort(rows.astype(DIGEST)).tobytes())


def origin_of_rows(
    train: NDArray[np.uint64],
    test: NDArray[np.uint64],
    *,
    test_fraction: float | None = None,
    seed: int | None = None,
) -> Origin:
    """The origin of labelled samples, from the digests of each."""
    return Origin(
        samples=fingerprint(np.concatenate([train, test])),
        train=fingerprint(train),
        test=fingerprint(test),
        train_samples=len(train),
        test_samples=len(test),
        test_fraction=test_fraction,
        seed=seed,
    )


def fingerprint_of_bytes(content: bytes) -> str:
    """One text for a content as a whole."""
    return hashlib.sha256(content).hexdigest()[:16]


def fingerprint_of_text(text: bytes) -> str:
    """What tells a text apart: its beginning, so that it stays the same text when it grows."""
    return hashlib.sha256(text[:_BEGINNING_BYTES]).hexdigest()[:16]


def check_unseen(model: str, trained: Origin, measured: Origin) -> None:
    """Raises TaskError if ``measured`` holds out what ``model`` has seen, being of ``trained``.

    Of a model that was taken over nobody knows that; no samples are said to have trained it.
    """
    if not trained.train_samples:
        return
    same = measured.samples == trained.samples
    if trained.train_bytes is not None and measured.train_bytes is not None:
        if not same or measured.train_bytes >= trained.train_bytes:
            return
        raise TaskError(
            f"the {model} was trained on this text up to byte {trained.train_bytes:,}, and what "
            f"would be measured begins at byte {measured.train_bytes:,}: it has seen that",
            hint=f"write the same text and {_split_words(trained)} as it was trained with",
        )
    if measured.test == trained.train:
        raise TaskError(
            f"the {model} was trained on exactly the {measured.test_samples:,} samples that would "
            "be measured",
            hint="measure it on samples it has not seen",
        )
    if not same or measured.train == trained.train:
        return
    ours, theirs = _split_words(trained), _split_words(measured)
    if ours == theirs:
        raise TaskError(
            f"the {model} was trained on this data in another order: split by {ours}, samples "
            "that it was trained on would now be measured as held out",
            hint="name the file as it was at training, or samples the model has not seen",
        )
    raise TaskError(
        f"the {model} was trained on this data with {ours}, which left "
        f"{trained.train_samples:,} samples for training; with {theirs}, some of these would be "
        "measured as held out",
        hint=f"write {ours}"
        if trained.test_fraction is not None
        else "name the data with the split that it was trained with",
    )


def _split_words(origin: Origin) -> str:
    if origin.test_fraction is None:
        return "a split of its own"
    seed = f" and seed {origin.seed}" if origin.seed else ""
    return f"test_fraction: {origin.test_fraction:g}{seed}"
