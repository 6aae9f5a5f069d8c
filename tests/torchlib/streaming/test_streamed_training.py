"""Training on a stream: the weights that the same rows give in memory, and reading beside it."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest
import torch

from runner.errors import TaskError
from runner.model import Columns, Read
from runner.torchlib import batches, data
from runner.torchlib.augmentation import Augmentation
from runner.torchlib.batches import Batching, Dealt
from runner.torchlib.data import Dataset
from runner.torchlib.streaming import feed
from tests.conftest import wait_for
from tests.torchlib.streaming.samples import here, streamed, write_images, write_tables
from tests.torchlib.training import make_model, series, train, weights


def trained(loaded: Dataset, **settings: object) -> torch.Tensor:
    model = make_model(loaded, hidden=[16], dropout=0.1)
    with loaded.reading():
        train(model, loaded, **settings)  # type: ignore[arg-type]
    return weights(model)


def test_images_give_the_weights_that_they_give_in_memory(tmp_path: Path) -> None:
    path = write_images(tmp_path / "data", 40)
    loaded, held = streamed(path), data.load(path=str(path), test_fraction=0.25)
    for settings in (
        {"epochs": 3, "batch": 16},
        {"max_steps": 10, "batch": 16, "micro_batch_size": 5, "seed": 4},
        {"epochs": 2, "batch": 16, "augmentation": Augmentation(flip=True, crop=1, cutout=2)},
    ):
        assert torch.equal(trained(loaded, **settings), trained(held, **settings))


def test_tables_give_the_weights_of_the_same_rows_in_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tables(tmp_path / "data", (47, 3, 61, 30))
    loaded, held = streamed(path), data.load(path=str(path), test_fraction=0.25)
    ours = trained(loaded, epochs=3, batch=16)
    assert loaded.stream is not None
    source = loaded.stream._train
    batching = Batching(global_batch_size=16, micro_batch_size=16)

    def order(samples: int, *, seed: int, epoch: int) -> torch.Tensor:
        rows = batches.rows_of_piece(4 * 5)
        dealt: Dealt = source.epoch(batching, rows=rows, seed=seed, epoch=epoch).dealt
        return dealt.whole

    monkeypatch.setattr(batches, "epoch_order", order)
    assert torch.equal(ours, trained(held, epochs=3, batch=16))


@pytest.mark.parametrize("kind", ["tables", "images"])
def test_a_resumed_training_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(feed, "rows_of_piece", lambda row_bytes: 32)
    path = tmp_path / "data"
    write_tables(path, (47, 3, 61, 30)) if kind == "tables" else write_images(path, 70)
    loaded = streamed(path)
    whole = trained(loaded, epochs=4, batch=16)
    for stop in (2, 5, 8, 13, 20):
        folder = tmp_path / f"checkpoints-{stop}"
        trained(loaded, epochs=4, batch=16, checkpoints=folder, stop_after=stop)
        model = make_model(loaded, hidden=[16], dropout=0.1)
        with loaded.reading():
            events = train(model, loaded, epochs=4, batch=16, checkpoints=folder)
        at = [value for _, value in series(events, "checkpoint/resumed_at_step")]
        assert at == ([stop - stop % 3] if stop >= 3 else [])
        assert torch.equal(weights(model), whole)


def test_reading_is_ahead_by_two_pieces_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "rows_of_piece", lambda row_bytes: 16)
    loaded = streamed(write_tables(tmp_path / "data", (200,)))
    pieces: list[int] = []
    empty = torch.empty
    monkeypatch.setattr(
        feed.torch, "empty", lambda shape, **about: pieces.append(shape[0]) or empty(shape, **about)
    )
    assert loaded.stream is not None
    with loaded.reading():
        source = loaded.stream.windows(
            Batching(global_batch_size=16, micro_batch_size=16),
            seed=0,
            epochs=2,
            device="cpu",
            layout=torch.contiguous_format,
            change=lambda epoch: None,
        )
        first = source(0, 0)
        next(first)
        (thread,) = (each for each in threading.enumerate() if each.daemon and each.name == "feed")
        wait_for(lambda: len(pieces) == 2)
        # It waits for room: of the next piece there is none before the first is used up.
        assert len(pieces) == 2
        next(first)
        wait_for(lambda: len(pieces) == 3)
        assert list(first) and len(list(source(1, 0))) == 10
        assert sum(pieces) == 300
    assert not thread.is_alive()


def test_closing_ends_a_reading_that_nobody_waits_for(tmp_path: Path) -> None:
    loaded = streamed(write_tables(tmp_path / "data", (200,)))
    before = set(threading.enumerate())
    trained(loaded, max_steps=3, batch=16, epochs=1)
    assert set(threading.enumerate()) <= before


def test_closing_does_not_wait_for_a_read_that_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "rows_of_piece", lambda row_bytes: 16)
    monkeypatch.setattr(feed, "_CLOSING_S", 0.1)
    is_stuck, goes_on = threading.Event(), threading.Event()

    def stuck(reads: Sequence[Read]) -> Generator[Columns, None, None]:
        first, *others = here(reads)
        yield first
        is_stuck.set()
        goes_on.wait(20)
        yield from others

    loaded = streamed(write_tables(tmp_path / "data", (200,), group=40))
    assert loaded.stream is not None
    loaded.stream._stream = stuck
    try:
        trained(loaded, max_steps=1, batch=16)
        assert is_stuck.wait(20)
        (thread,) = (each for each in threading.enumerate() if each.name == "feed")
        assert thread.is_alive() and thread.daemon
    finally:
        goes_on.set()
    thread.join(20)
    assert not thread.is_alive()


def test_what_goes_wrong_in_reading_ends_the_training(tmp_path: Path) -> None:
    path = write_tables(tmp_path / "data", (60, 60, 60), group=60)
    calls = []

    def failing(reads: Sequence[Read]) -> Generator[Columns, None, None]:
        calls.append(len(reads))
        if len(calls) == 4:  # of the second epoch
            (path / "part-1.parquet").unlink()
        yield from here(reads)

    loaded = streamed(path, stream=failing)
    with pytest.raises(TaskError, match=r"part-1\.parquet can't be read"):
        trained(loaded, epochs=3, batch=16)
    assert len(calls) == 4


def test_files_that_shrink_meanwhile_are_no_shorter_epoch(tmp_path: Path) -> None:
    def short(reads: Sequence[Read]) -> Generator[Columns, None, None]:
        yield from here(reads[:1])

    path = write_tables(tmp_path / "data", (60, 60))
    loaded = streamed(path)
    assert loaded.stream is not None
    loaded.stream._stream = short
    with pytest.raises(TaskError, match="hold fewer rows than when the training began"):
        trained(loaded, epochs=1, batch=16)
