"""The order of streamed rows: each once an epoch, whoever trains, from wherever one goes on."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from runner.model import Columns, Read
from runner.torchlib import batches, data
from runner.torchlib.batches import Batching, Share, Window
from runner.torchlib.data import Dataset
from runner.torchlib.streaming import feed
from runner.torchlib.streaming.order import deal_groups
from tests.torchlib.streaming.samples import FEATURES, here, streamed, write_images, write_tables

FILES = (47, 3, 61, 30)


def windows(
    loaded: Dataset, batching: Batching, *, epoch: int = 0, first: int = 0, seed: int = 0
) -> list[Window]:
    assert loaded.stream is not None
    with loaded.reading():
        source = loaded.stream.windows(
            batching,
            seed=seed,
            epochs=epoch + 1,
            device="cpu",
            layout=torch.contiguous_format,
            change=lambda epoch: None,
        )
        return list(source(epoch, first))


def kept_rows(found: list[Window]) -> list[tuple[float, ...]]:
    return [
        tuple(row)
        for window in found
        for (inputs, *_), kept in window.portions
        for row in inputs[:kept].flatten(1).tolist()
    ]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tables(tmp_path_factory.mktemp("tables") / "data", FILES)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images") / "data", 40)


@pytest.mark.parametrize("is_padded", [False, True])
@pytest.mark.parametrize(
    ("ranks", "batch", "micro"), [(1, 16, 8), (2, 16, 4), (3, 12, 4), (16, 32, 2), (80, 80, 1)]
)
@pytest.mark.parametrize("kind", ["tables", "images"])
def test_every_row_once_an_epoch(
    request: pytest.FixtureRequest, kind: str, ranks: int, batch: int, micro: int, is_padded: bool
) -> None:
    loaded = streamed(request.getfixturevalue(kind))
    held = data.load(path=str(request.getfixturevalue(kind)), test_fraction=0.25)
    found = [
        windows(
            loaded,
            Batching(
                global_batch_size=batch,
                micro_batch_size=micro,
                share=Share(rank, ranks),
                is_padded=is_padded,
            ),
        )
        for rank in range(ranks)
    ]
    rows = [row for mine in found for row in kept_rows(mine)]
    expected = [tuple(row) for row in held.train_inputs.flatten(1).tolist()]
    assert sorted(rows) == sorted(expected)
    # What one step sees of all ranks is what it says, and as many steps on each.
    for together in zip(*found, strict=True):
        assert sum(portion.kept for window in together for portion in window.portions) == (
            together[0].samples
        )
        assert {window.samples for window in together} == {together[0].samples}
        assert len({len(window.portions) for window in together}) == 1
        assert all(len(portion.columns[0]) for window in together for portion in window.portions)
        if is_padded:
            sizes = {len(p.columns[0]) for window in together for p in window.portions}
            assert sizes == {micro}
    samples = [together[0].samples for together in zip(*found, strict=True)]
    assert samples[:-1] == [batch] * (len(samples) - 1)


def test_inputs_and_targets_belong_together(tables: Path) -> None:
    loaded, held = streamed(tables), data.load(path=str(tables), test_fraction=0.25)
    target_of = {
        tuple(row): target
        for row, target in zip(held.train_inputs.tolist(), held.train_targets.tolist(), strict=True)
    }
    for window in windows(loaded, Batching(global_batch_size=16, micro_batch_size=16)):
        for inputs, targets in (portion.columns for portion in window.portions):
            assert [target_of[tuple(row)] for row in inputs.tolist()] == targets.tolist()


def test_images_come_in_the_order_of_those_in_memory(images: Path) -> None:
    loaded, held = streamed(images), data.load(path=str(images), test_fraction=0.25)
    for rank in range(2):
        batching = Batching(global_batch_size=16, micro_batch_size=4, share=Share(rank, 2))
        in_memory = batches.epoch_windows(
            (held.train_inputs, held.train_targets),
            batching=batching,
            seed=3,
            epoch=1,
            device="cpu",
            layout=torch.contiguous_format,
        )
        for ours, theirs in zip(windows(loaded, batching, epoch=1, seed=3), in_memory, strict=True):
            assert ours.samples == theirs.samples
            for (mine, kept), (other, expected) in zip(ours.portions, theirs.portions, strict=True):
                assert kept == expected
                assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))


@pytest.mark.parametrize("pool", [None, 48])
@pytest.mark.parametrize("kind", ["tables", "images"])
def test_going_on_from_any_window_is_the_rest_of_the_epoch(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, kind: str, pool: int | None
) -> None:
    if pool:  # an epoch of several pools
        monkeypatch.setattr(feed, "rows_of_piece", lambda row_bytes: pool)
    loaded = streamed(request.getfixturevalue(kind))
    batching = Batching(global_batch_size=16, micro_batch_size=4, share=Share(1, 2))
    whole = windows(loaded, batching, epoch=2)
    for first in range(len(whole)):
        rest = windows(loaded, batching, epoch=2, first=first)
        assert len(rest) == len(whole) - first
        assert kept_rows(rest) == kept_rows(whole[first:])


def test_epochs_and_seeds_differ_and_repeat(tables: Path) -> None:
    loaded = streamed(tables)
    batching = Batching(global_batch_size=16, micro_batch_size=16)

    def order(seed: int, epoch: int) -> list[tuple[float, ...]]:
        return kept_rows(windows(loaded, batching, seed=seed, epoch=epoch))

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_pools_mix_row_groups_and_no_more_than_is_in_memory() -> None:
    starts = np.arange(0, 1001, 50)
    batching = Batching(global_batch_size=20, micro_batch_size=20)
    dealt = deal_groups(starts, batching, rows=200, seed=0, epoch=0)
    pools = torch.split(dealt.whole, 200)
    groups = [set((pool // 50).tolist()) for pool in pools]
    assert [len(each) for each in groups] == [4] * 5
    assert all(not one & two for one, two in pairwise(groups))
    for pool in pools:
        assert len(set((pool[:20] // 50).tolist())) > 1


def test_a_row_group_is_read_once_an_epoch_but_where_two_ranks_meet(tables: Path) -> None:
    loaded = streamed(tables)
    assert loaded.stream is not None
    reads = 0
    for rank in range(3):
        batching = Batching(global_batch_size=12, micro_batch_size=4, share=Share(rank, 3))
        train = loaded.stream._train
        dealt, arrival = train.epoch(batching, rows=24, seed=0, epoch=0)
        samples = [
            piece.indices.numpy()[arrival(piece.indices.numpy())]
            for piece in batching.pieces(dealt, rows=24)
        ]
        reads += len(train.reads(np.concatenate(samples[:-1])))  # but for the last, short window
    assert reads <= sum(-(-rows // 20) for rows in FILES) + 2


@pytest.mark.parametrize("kind", ["tables", "images"])
def test_what_fills_up_a_window_is_read_once(
    request: pytest.FixtureRequest, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = streamed(request.getfixturevalue(kind))
    assert loaded.stream is not None
    read: list[Read] = []
    rows = 0

    def counting(reads: Sequence[Read]) -> Generator[Columns, None, None]:
        nonlocal rows
        read.extend(reads)
        for block in here(reads):
            rows += len(block["inputs"])
            yield block

    monkeypatch.setattr(loaded.stream, "_stream", counting)
    batch = loaded.train_samples - 1
    batching = Batching(global_batch_size=batch, micro_batch_size=batch, is_padded=True)
    (last,) = windows(loaded, batching, first=1)
    assert last.samples == 1 and len(last.portions[0].columns[0]) == batch
    assert len(read) <= 2
    # Of images it is filled up with the one that is left over, of a table with another row.
    assert rows == (1 if kind == "images" else 2)
    held = data.load(path=str(request.getfixturevalue(kind)), test_fraction=0.25)
    target_of = {
        tuple(row): target
        for row, target in zip(
            held.train_inputs.flatten(1).tolist(), held.train_targets.tolist(), strict=True
        )
    }
    inputs, targets = last.portions[0].columns
    assert [target_of[tuple(row)] for row in inputs.flatten(1).tolist()] == targets.tolist()


def test_row_bytes_bound_a_piece(tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_PIECE_BYTES", 40 * 4 * FEATURES)
    loaded = streamed(tables)
    assert loaded.stream is not None
    sizes: list[int] = []
    empty = torch.empty

    def counting(shape: tuple[int, ...], **about: bool) -> torch.Tensor:
        sizes.append(shape[0])
        return empty(shape, **about)

    monkeypatch.setattr(feed.torch, "empty", counting)
    windows(loaded, Batching(global_batch_size=16, micro_batch_size=16))
    assert max(sizes) == 32 and sum(sizes) == loaded.train_samples
