"""Folders of images as a source of a stream: every file can be read by itself, in any order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runner.data.classes import Array, classes_of
from runner.data.dataset import Preparation
from runner.data.images import check_layout, expected, image_files, parts
from runner.errors import TaskError
from runner.model import Columns, Read
from runner.torchlib.batches import Batching, epoch_order
from runner.torchlib.streaming.image_reads import (
    IMAGES_A_READ,
    HeaderRead,
    ImageRows,
    ImageScan,
)
from runner.torchlib.streaming.moments import Scale
from runner.torchlib.streaming.source import Epoch, Indices, Surveyed


class Images:
    """The images below ``folder``, one folder a class, or such folders in two parts.

    Opening lists them. Raises TaskError if there are none.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, folder: Path) -> None:
        both = parts(folder)
        if both is None:
            check_layout(folder)
        listed = [image_files(part) for part in both or (folder,)]
        for part, files in zip(both or (folder,), listed, strict=True):
            if not files:
                raise TaskError(f"{part} has no images", hint=expected(part))
        self._labels = np.array([label for files in listed for label, _ in files])
        self.files = np.array([str(file) for files in listed for _, file in files], dtype=object)
        self._is_train: NDArray[np.bool_] | None = None
        if both is not None:
            self._is_train = np.arange(len(self.files)) < len(listed[0])
        self._is_grey = True

    def words(self) -> str:
        """How many images there are."""
        return f"{len(self.files):,} image files"

    def listing(self) -> str:
        """A digest of the files' names."""
        return hashlib.sha256("\0".join(self.files).encode()).hexdigest()

    def surveys(self) -> list[Read]:
        """Reads of the files' headers."""
        return [
            HeaderRead(files=tuple(self.files[rows]), first=self.files[0])
            for rows in _cut(np.arange(len(self.files)))
        ]

    def summary(self, blocks: Iterator[Columns]) -> tuple[tuple[int, int] | None, Array]:
        """Height and width, and which images are grey."""
        shape, is_grey = None, [np.empty(0, dtype=bool)]
        for block in blocks:
            shape = int(block["height"][0]), int(block["width"][0])
            is_grey.append(block["is_grey"].astype(bool))
        return shape, np.concatenate(is_grey)

    def surveyed(
        self,
        summaries: list[tuple[tuple[int, int] | None, Array]],
        like: Preparation | None,
    ) -> Surveyed:
        """The classes that the folders are; three channels unless all files are grey."""
        is_grey = np.concatenate([grey for _, grey in summaries])
        height, width = next(shape for shape, _ in summaries if shape is not None)
        self._is_grey = bool(is_grey.all())
        classes, targets = classes_of(self._labels, like.classes if like else None)
        return Surveyed(
            classes=classes,
            targets=targets,
            input_shape=(1 if self._is_grey else 3, height, width),
            is_train=self._is_train,
        )

    def scans(self, surveyed: Surveyed, is_train: NDArray[np.bool_]) -> list[Read]:
        """One for some files each."""
        return [
            ImageScan(
                files=tuple(self.files[rows]),
                targets=tuple(surveyed.targets[rows].tolist()),
                is_train=tuple(is_train[rows].tolist()),
                classes=surveyed.classes,
                is_grey=self._is_grey,
            )
            for rows in _cut(np.arange(len(self.files)))
        ]

    def preprocessing(self) -> Mapping[str, Any]:
        """Nothing else."""
        return {}

    def train(self, surveyed: Surveyed, rows: Indices, scale: Scale) -> TrainImages:
        """The files for training."""
        return TrainImages(self.files[rows], is_grey=self._is_grey, scale=scale)


class TrainImages:
    """The files for training, in the very order in which images in memory are trained on."""

    def __init__(self, files: Array, *, is_grey: bool, scale: Scale) -> None:
        self._files = files
        self._is_grey = is_grey
        self._scale = scale

    def epoch(self, batching: Batching, *, rows: int, seed: int, epoch: int) -> Epoch:
        """All images permuted."""
        dealt = batching.deal(epoch_order(len(self._files), seed=seed, epoch=epoch))
        return Epoch(dealt, lambda samples: np.arange(len(samples)))

    def reads(self, samples: Indices) -> list[Read]:
        """One for some images each."""
        return [
            ImageRows(files=tuple(self._files[some]), is_grey=self._is_grey, scale=self._scale)
            for some in _cut(samples)
        ]


def _cut(rows: Indices) -> list[Indices]:
    return [rows[at : at + IMAGES_A_READ] for at in range(0, len(rows), IMAGES_A_READ)]
