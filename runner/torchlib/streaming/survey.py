"""The passes over data that is to be streamed: what has to be known of it before a training."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from runner.data.classes import check_trained, split
from runner.data.dataset import Preparation, check_scale
from runner.data.extras import need
from runner.data.origin import origin_of_rows
from runner.errors import TaskError
from runner.model import Stream
from runner.torchlib.data import Dataset
from runner.torchlib.parallel.world import memory_bytes
from runner.torchlib.streaming.feed import Streamed
from runner.torchlib.streaming.gather import count_ranks, exchange, gathered, joined, part
from runner.torchlib.streaming.images import Images
from runner.torchlib.streaming.moments import Scale, scale_of, scanned, standardise, standardised
from runner.torchlib.streaming.source import Source, Surveyed
from runner.torchlib.streaming.tables import Tables

FORMATS = ("parquet", "images")
# Of a rank's memory, for the samples that are held out: the rest is for all else.
_SHARE_FOR_HELD_OUT = 0.5
_SPLIT_SEED = 0


def survey(
    path: Path,
    *,
    format: str,
    label: str | None,
    test_fraction: float,
    stream: Stream,
    like: Preparation | None = None,
) -> Dataset:
    """The data set at ``path``, of one of ``FORMATS``, whose samples for training are streamed.

    It is what ``runner.torchlib.data.load`` makes of the same files, with the same samples held out
    and in memory. Every rank of a gang must call it: each reads its part of the files, once for
    what decides on the split (a table's labels, the images' sizes) and once for the rest. What
    stays in memory of a sample that is not held out are some 40 bytes.

    Raises TaskError for files that can't be read or make no data set, where ranks do not see the
    same files, and where the samples held out need more than half of a rank's memory.
    """
    for package in ("pandas", "pyarrow"):  # which Ray Data imports
        need(package, package=package, extra="files", what="data that is streamed")
    if like is not None:
        like.check_task("classification")
    known: Mapping[str, Any] = like.preprocessing if like else {}
    source: Source = Tables(path, label=label, like=known) if format == "parquet" else Images(path)
    if len(set(gathered(source.listing()))) > 1:
        raise TaskError(
            f"the workers do not see the same files at {path}",
            hint="data must lie where every node of the cluster reaches it",
        )
    with closing(stream(part(source.surveys()))) as blocks:
        summary = source.summary(blocks)
    surveyed = source.surveyed(gathered(summary), like)
    is_train = _is_train(surveyed, test_fraction)
    train, test = np.flatnonzero(is_train), np.flatnonzero(~is_train)
    if like is None:
        check_trained(surveyed.targets[train], surveyed.targets[test], surveyed.classes)
    _check_held_out(len(test), surveyed, test_fraction)
    with closing(stream(part(source.scans(surveyed, is_train)))) as blocks:
        mine = scanned(blocks, surveyed.input_shape, source.dtype, held_out=len(test))
    moments = [moment for its in gathered(mine.moments) for moment in its]
    samples = np.concatenate(gathered(mine.samples))[:2]
    if like is None:
        scale = scale_of(moments)
        preprocessing = {"mean": list(scale.mean), "std": list(scale.deviation)}
        preprocessing |= source.preprocessing()
    else:
        preprocessing = dict(known)
        check_scale(known, surveyed.input_shape[0])
        scale = Scale(tuple(known["mean"]), tuple(known["std"]))
    digests = joined(mine.digests.astype(np.uint64))
    if len(digests) != len(surveyed.targets):
        raise TaskError(
            f"{path} held {len(surveyed.targets):,} samples when it was first read, and "
            f"{len(digests):,} a moment later",
            hint="leave the data alone while it is read",
        )
    standardise(mine.held_out[: mine.count_held_out], scale)
    exchange(mine.held_out, mine.count_held_out)
    has_split = surveyed.is_train is not None
    origin = origin_of_rows(
        digests[train],
        digests[test],
        test_fraction=None if has_split else test_fraction,
        seed=None if has_split else _SPLIT_SEED,
    )
    if like is None and origin.train == origin.test:
        raise TaskError(
            "the samples held out are those for training over again",
            hint="hold out samples that are not trained on",
        )
    targets = torch.from_numpy(surveyed.targets)
    return Dataset(
        train_inputs=torch.from_numpy(standardised(samples, scale)),
        train_targets=targets[train[: len(samples)]],
        test_inputs=torch.from_numpy(mine.held_out),
        test_targets=targets[test],
        input_shape=surveyed.input_shape,
        classes=surveyed.classes,
        task="classification",
        preprocessing=preprocessing,
        origin=origin,
        stream=Streamed(
            source.train(surveyed, train, scale),
            targets[train],
            input_shape=surveyed.input_shape,
            stream=stream,
            words=source.words(),
        ),
    )


def _is_train(surveyed: Surveyed, test_fraction: float) -> np.ndarray:
    if surveyed.is_train is not None:
        return surveyed.is_train
    train, _ = split(surveyed.targets, test_fraction=test_fraction, seed=_SPLIT_SEED)
    is_train = np.zeros(len(surveyed.targets), dtype=bool)
    is_train[train] = True
    return is_train


def _check_held_out(samples: int, surveyed: Surveyed, test_fraction: float) -> None:
    needed = samples * 4 * int(np.prod(surveyed.input_shape))
    most = int(_SHARE_FOR_HELD_OUT * memory_bytes("cpu", count_ranks()))
    if needed <= most:
        return
    hint = "hold out fewer images"
    if surveyed.is_train is None:
        fits = test_fraction * most / needed
        hint = f"lower test_fraction, to {fits:.1g} for example"
    raise TaskError(
        f"the {samples:,} samples held out are kept in memory, and need {needed / 1e9:.1f} GB of "
        f"the {most / 1e9:.1f} GB that each worker has for them",
        hint=hint,
    )
