"""What is known of streamed data before a training: the same as of that data in memory."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from runner.data.models import ModelSpec
from runner.errors import TaskError
from runner.model import Columns, Read
from runner.torchlib import data
from runner.torchlib.artifact import load, save
from runner.torchlib.data import Dataset
from runner.torchlib.measure import measure_artifact
from runner.torchlib.streaming import survey as surveying
from tests.torchlib.streaming.samples import (
    here,
    streamed,
    table,
    write_images,
    write_tables,
)
from tests.torchlib.training import make_model


def check_alike(ours: Dataset, theirs: Dataset) -> None:
    assert ours.classes == theirs.classes and ours.input_shape == theirs.input_shape
    assert ours.train_samples == theirs.train_samples
    assert ours.origin == theirs.origin
    assert torch.equal(ours.test_targets, theirs.test_targets)
    assert torch.equal(ours.test_inputs, theirs.test_inputs)
    assert torch.equal(ours.train_inputs, theirs.train_inputs[: len(ours.train_inputs)])
    assert torch.equal(ours.train_targets, theirs.train_targets[: len(ours.train_inputs)])
    one, other = dict(ours.preprocessing), dict(theirs.preprocessing)
    for key in ("mean", "std"):
        assert one.pop(key) == pytest.approx(other.pop(key), rel=1e-12)
    assert one == other


def test_tables_are_what_they_are_in_memory(tmp_path: Path) -> None:
    path = write_tables(tmp_path / "data", (47, 3, 61, 30))
    ours = streamed(path)
    check_alike(ours, data.load(path=str(path), test_fraction=0.25))
    assert str(ours.stream) == "4 Parquet files of 10 row groups, streamed: 105 samples to train on"
    one = tmp_path / "data" / "part-2.parquet"
    check_alike(
        streamed(one, label="kind", test_fraction=0.5),
        data.load(path=str(one), label="kind", test_fraction=0.5),
    )


@pytest.mark.parametrize("modes", [("L",), ("RGB",), ("L", "RGB", "1")])
def test_images_are_what_they_are_in_memory(tmp_path: Path, modes: Sequence[str]) -> None:
    path = write_images(tmp_path / "data", 40, modes=modes)
    ours = streamed(path)
    assert ours.input_shape == (1 if modes == ("L",) else 3, 4, 5)
    check_alike(ours, data.load(path=str(path), test_fraction=0.25))
    assert str(ours.stream) == "80 image files, streamed: 60 samples to train on"


def test_images_that_are_split_already(tmp_path: Path) -> None:
    write_images(tmp_path / "train", 12, modes=("RGB",))
    write_images(tmp_path / "val", 5, modes=("RGB",), seed=1)
    check_alike(streamed(tmp_path), data.load(path=str(tmp_path)))


@pytest.mark.parametrize("labels", [[3, 7, 20], [True, False], [1.0, 2.0, 10.0]])
def test_labels_of_any_type(tmp_path: Path, labels: list[Any]) -> None:
    (tmp_path / "data").mkdir()
    for number in range(3):  # a file's labels need not be all that there are
        some = labels[number % len(labels) :]
        rows = pa.table({"x": np.arange(30.0) + number, "y": np.resize(np.array(some), 30)})
        parquet.write_table(rows, tmp_path / "data" / f"{number}.parquet", row_group_size=7)
    check_alike(
        streamed(tmp_path / "data"), data.load(path=str(tmp_path / "data"), test_fraction=0.25)
    )


@pytest.mark.parametrize("ranks", [2, 5, 12])
def test_ranks_that_share_the_survey_learn_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranks: int
) -> None:
    """Threads stand in for the ranks, and a barrier for what they exchange."""
    path = write_tables(tmp_path / "data", (47, 3, 61, 30))
    alone = streamed(path)
    meeting, given = threading.Barrier(ranks), [None] * ranks
    rank_of: dict[int, int] = {}
    reads_of: list[int] = []

    def rank() -> int:
        return rank_of[threading.get_ident()]

    def gathered(value: Any) -> list[Any]:
        given[rank()] = value
        meeting.wait(20)
        found = list(given)
        meeting.wait(20)
        return found

    def counted(reads: Sequence[Read]) -> Generator[Columns, None, None]:
        reads_of.append(len(reads))
        yield from here(reads)

    from runner.torchlib.streaming import gather

    monkeypatch.setattr(gather, "_rank", rank)
    monkeypatch.setattr(gather, "count_ranks", lambda: ranks)
    monkeypatch.setattr(surveying, "gathered", gathered)
    monkeypatch.setattr(surveying, "joined", lambda rows: np.concatenate(gathered(rows)))

    def exchange(rows: np.ndarray, mine: int) -> None:
        rows[:] = np.concatenate(gathered(rows[:mine].copy()))

    monkeypatch.setattr(surveying, "exchange", exchange)
    found: dict[int, Dataset] = {}

    def run(number: int) -> None:
        rank_of[threading.get_ident()] = number
        found[number] = streamed(path, stream=counted)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found) == list(range(ranks))
    for each in found.values():
        assert each.preprocessing == alone.preprocessing  # to the last bit
        check_alike(each, alone)
    assert sum(reads_of) == 2 * 10  # row groups, twice


def test_data_for_a_model_that_exists(tmp_path: Path) -> None:
    path = write_tables(tmp_path / "data", (47, 61))
    first = data.load(path=str(path), test_fraction=0.25)
    save(tmp_path / "model", make_model(first), spec=ModelSpec(name="mlp"), dataset=first)
    loaded = load(tmp_path / "model")
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in path.iterdir():
        rows = parquet.read_table(file)
        parquet.write_table(rows.select(rows.column_names[::-1]), moved / file.name)
    ours = streamed(moved, loaded.preparation)
    check_alike(ours, first)
    assert measure_artifact(tmp_path / "model", ours, threads=1, device="cpu")
    with pytest.raises(TaskError, match="does not have the 5 columns"):
        streamed(write_other(tmp_path / "other"), loaded.preparation, label="kind")
    with pytest.raises(TaskError, match=r"with test_fraction: 0\.5, some of these would"):
        measure_artifact(
            tmp_path / "model",
            streamed(path, loaded.preparation, test_fraction=0.5),
            threads=1,
            device="cpu",
        )


def write_other(folder: Path) -> Path:
    folder.mkdir()
    parquet.write_table(table(30, 0).rename_columns([*"abcde", "kind"]), folder / "a.parquet")
    return folder


def test_a_file_that_is_torn_is_named(tmp_path: Path) -> None:
    path = write_tables(tmp_path / "data", (47, 30, 61))
    torn = path / "part-1.parquet"
    whole = torn.read_bytes()
    torn.write_bytes(whole[:-20])
    for read in (streamed, lambda path: data.load(path=str(path))):
        with pytest.raises(TaskError, match=r"part-1\.parquet can't be read as parquet"):
            read(path)
    # What is broken in the middle shows when it is read, not by the footer.
    torn.write_bytes(whole[:4] + bytes(len(whole) // 2) + whole[len(whole) // 2 + 4 :])
    with pytest.raises(TaskError, match=r"part-1\.parquet can't be read as parquet, in row group"):
        streamed(path)


def test_a_file_of_other_columns_is_named(tmp_path: Path) -> None:
    path = write_tables(tmp_path / "data", (47, 30))
    more = table(30, 2)
    for other, words in (
        (more.drop_columns(["f1"]), "lacks f1"),
        (more.append_column("g", more.column("f1")), "has besides g"),
        (
            more.set_column(0, "f0", more.column("f0").cast(pa.string())),
            "has string in f0, where that has double",
        ),
    ):
        parquet.write_table(other, path / "part-9.parquet")
        for read in (streamed, lambda path: data.load(path=str(path))):
            with pytest.raises(TaskError, match=rf"part-9\.parquet does not .*: it {words}"):
                read(path)


def test_values_that_are_missing_have_a_place(tmp_path: Path) -> None:
    path = write_tables(tmp_path / "data", (47,))
    rows = table(50, 1)
    for column, row, words in (("f3", 45, "missing"), ("kind", 27, "missing"), ("f2", 31, "inf")):
        values = rows.column(column).to_pylist()
        values[row] = float("inf") if words == "inf" else None
        index = rows.column_names.index(column)
        wrong = rows.set_column(index, column, pa.array(values))
        parquet.write_table(wrong, path / "part-1.parquet", row_group_size=20)
        with pytest.raises(
            TaskError, match=rf"part-1\.parquet: column '{column}', row {row + 1}: .*{words}"
        ):
            streamed(path)


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    path = write_images(tmp_path / "data", 6)
    Image.new("L", (4, 4)).save(path / "dog" / "zz.png")
    with pytest.raises(TaskError, match=r"dog/zz\.png is 4x4 pixels, .*cat/000\.png is 5x4"):
        streamed(path)
    (path / "dog" / "zz.png").write_bytes(b"no image")
    with pytest.raises(TaskError, match=r"dog/zz\.png can't be read as an image"):
        streamed(path)
    Image.new("I;16", (5, 4)).save(path / "dog" / "zz.png")
    with pytest.raises(TaskError, match=r"dog/zz\.png has more than 8 bits a channel"):
        streamed(path)


def test_workers_that_see_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveying, "gathered", lambda value: [value, "another listing"])
    with pytest.raises(TaskError, match="workers do not see the same files"):
        streamed(write_tables(tmp_path / "data", (47,)))


def test_what_is_held_out_has_to_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tables(tmp_path / "data", (470,))
    monkeypatch.setattr(surveying, "memory_bytes", lambda device, ranks: 2000)
    with pytest.raises(TaskError, match="118 samples held out are kept in memory") as caught:
        streamed(path)
    assert caught.value.hint == "lower test_fraction, to 0.1 for example"
    assert streamed(path, test_fraction=0.1).train_samples == 423


def test_what_is_held_out_is_in_memory_once(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    values = np.random.default_rng(0).normal(size=(400, 25_000)).astype(np.float32)
    columns = {f"f{index}": column for index, column in enumerate(values)}
    kinds = np.arange(25_000) % 3
    parquet.write_table(pa.table({**columns, "kind": kinds}), path, row_group_size=2_000)
    tracemalloc.start()
    try:
        found = streamed(path, test_fraction=0.8)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    held_out = found.test_inputs.nbytes
    assert held_out == 20_000 * 400 * 4
    assert peak < held_out + 24_000_000  # blocks that are read


def test_files_that_shrink_between_the_passes(tmp_path: Path) -> None:
    calls = []

    def shrinking(reads: Sequence[Read]) -> Generator[Columns, None, None]:
        calls.append(len(reads))
        yield from here(reads if len(calls) == 1 else reads[:-1])

    path = write_tables(tmp_path / "data", (47, 60))
    with pytest.raises(TaskError, match="held 107 samples when it was first read, and 87 a moment"):
        streamed(path, stream=shrinking)


def test_what_is_no_data_set(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.mkdir()
    parquet.write_table(table(0, 0), path / "a.parquet")
    with pytest.raises(TaskError, match="has 0 rows of 6 columns in 1 Parquet file"):
        streamed(path)
    parquet.write_table(table(30, 0), path / "b.parquet")
    with pytest.raises(TaskError, match="no column 'colour' for the labels"):
        streamed(path, label="colour")
    with pytest.raises(TaskError, match="are fractional numbers"):
        streamed(path, label="f0")
