"""Few labels: who keeps theirs, who is without, and that nothing held out is ever trained on."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runner.data import load
from runner.data.dataset import Dataset, Preparation, origin_of
from runner.data.labels import UNLABELLED
from runner.data.origin import check_unseen
from runner.errors import TaskError


def prepared(data: Dataset) -> Preparation:
    return Preparation(
        task=data.task,
        classes=data.classes,
        preprocessing=data.preprocessing,
        origin=origin_of(data),
    )


def rows(inputs: Any) -> set[bytes]:
    return {np.ascontiguousarray(row).tobytes() for row in inputs}


@pytest.fixture(scope="module")
def whole() -> Dataset:
    return load(name="digits")


def test_of_each_class_its_share_and_the_same_ones_each_time(whole: Dataset) -> None:
    like = prepared(whole)
    few = load(name="digits", train_samples=200, like=like)
    again = load(name="digits", train_samples=200, like=like)
    assert len(few.train_inputs) == 200
    counts = np.bincount(few.train_targets)
    share = 200 * np.bincount(whole.train_targets) / len(whole.train_targets)
    assert np.abs(counts - share).max() <= 1.0
    assert np.array_equal(few.train_inputs, again.train_inputs)
    assert rows(few.train_inputs) <= rows(whole.train_inputs)
    # More of them are those and others, so that results for few and many compare.
    more = load(name="digits", train_samples=400, like=like)
    assert len(rows(more.train_inputs) & rows(few.train_inputs)) >= 195


def test_what_is_held_out_stays_held_out(whole: Dataset) -> None:
    few = load(name="digits", train_samples=200, like=prepared(whole))
    assert np.array_equal(few.test_inputs, whole.test_inputs)
    assert np.array_equal(few.test_targets, whole.test_targets)
    # One that was trained on few is measured on the split that one trained on all has.
    check_unseen("model", origin_of(few), origin_of(whole))
    check_unseen("model", origin_of(whole), origin_of(few))
    assert origin_of(few).train_samples == 200
    with pytest.raises(TaskError, match="some of these would be measured as held out"):
        check_unseen("model", origin_of(few), origin_of(load(name="digits", test_fraction=0.5)))


def test_mean_and_deviation_are_those_of_what_is_trained_on(whole: Dataset) -> None:
    few = load(name="digits", train_samples=50)
    assert few.train_inputs.mean() == pytest.approx(0.0, abs=1e-6)
    assert few.train_inputs.std() == pytest.approx(1.0, abs=1e-6)
    assert few.preprocessing != whole.preprocessing
    # The raw values are what they were.
    for one, other in ((few.test_inputs, few), (whole.test_inputs, whole)):
        raw = one * other.preprocessing["std"][0] + other.preprocessing["mean"][0]
        assert np.allclose(raw, np.round(raw), atol=1e-4)


def test_the_rest_stays_without_labels(whole: Dataset) -> None:
    like = prepared(whole)
    few = load(name="digits", train_samples=200, like=like)
    both = load(name="digits", train_samples=200, keeps_rest=True, like=like)
    assert np.array_equal(both.train_inputs, whole.train_inputs)
    labelled = both.train_targets != UNLABELLED
    assert np.array_equal(both.train_inputs[labelled], few.train_inputs)
    assert np.array_equal(both.train_targets[labelled], few.train_targets)
    assert origin_of(both).train_samples == len(whole.train_inputs)


def test_a_text_is_limited_by_blocks() -> None:
    whole = load(name="stdlib", args={"bytes": 20_000}, block_size=32)
    few = load(name="stdlib", args={"bytes": 20_000}, block_size=32, train_samples=40)
    assert len(few.train_inputs) == 40
    assert rows(few.train_inputs) <= rows(whole.train_inputs)
    assert np.array_equal(few.train_inputs[:, 1:], few.train_targets[:, :-1])
    with pytest.raises(TaskError, match="a text has no samples without labels"):
        load(name="stdlib", args={"bytes": 20_000}, train_samples=40, keeps_rest=True)


def test_too_many_and_too_few() -> None:
    with pytest.raises(TaskError, match=r"train_samples is 1,438, and the data has 1,437"):
        load(name="digits", train_samples=1438)
    with pytest.raises(TaskError, match="no sample to train on"):
        load(name="digits", train_samples=5)


def split_images(folder: Path) -> tuple[Any, Any]:
    """Images of noise: those with labels in folders, and others without."""
    random = np.random.default_rng(0)
    images = random.integers(0, 255, (60, 6, 5), dtype=np.uint8)
    for index, image in enumerate(images[:40]):
        place = folder / "labelled" / "ab"[index % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{index:02}.png")
    (folder / "more").mkdir()
    for index, image in enumerate(images[40:]):
        Image.fromarray(image).save(folder / "more" / f"{index}.png")
    return folder / "labelled", folder / "more"


def test_images_without_labels_from_a_folder(tmp_path: Path) -> None:
    labelled, more = split_images(tmp_path)
    alone = load(path=str(labelled))
    both = load(path=str(labelled), unlabelled={"path": str(more)})
    assert np.array_equal(both.train_inputs[: len(alone.train_inputs)], alone.train_inputs)
    assert (both.train_targets[len(alone.train_targets) :] == UNLABELLED).all()
    added = both.train_inputs[len(alone.train_inputs) :]
    assert added.shape == (20, 1, 6, 5)
    # They went through what the others went through.
    raw = added * alone.preprocessing["std"][0] + alone.preprocessing["mean"][0]
    assert np.allclose(raw, np.round(raw), atol=1e-3)
    assert np.array_equal(both.test_inputs, alone.test_inputs)
    assert origin_of(both).train == origin_of(alone).train


def test_what_is_held_out_is_refused_among_them(tmp_path: Path) -> None:
    labelled, _ = split_images(tmp_path)
    with pytest.raises(TaskError, match=r"8 of 40 samples without labels are held out"):
        load(path=str(labelled), unlabelled={"path": str(labelled)})
    with pytest.raises(TaskError, match=r"360 of 1,797 samples without labels are held out"):
        load(name="digits", train_samples=100, unlabelled={"name": "digits"})


def test_arrays_and_what_a_factory_returns(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=(60, 4))
    np.savez(tmp_path / "data.npz", x=x[:40], y=np.arange(40) % 2)
    np.savez(tmp_path / "more.npz", x=x[40:])
    path = str(tmp_path / "data.npz")
    both = load(path=path, unlabelled={"path": str(tmp_path / "more.npz")})
    made = load(
        path=path, unlabelled={"factory": "tests.data.test_few_labels:more", "args": {"seed": 1}}
    )
    assert np.array_equal(both.train_inputs, made.train_inputs)
    np.savez(tmp_path / "wide.npz", x=random.normal(size=(5, 3)))
    with pytest.raises(TaskError, match=r"5 samples without labels of shape \(3,\)"):
        load(path=path, unlabelled={"path": str(tmp_path / "wide.npz")})
    np.savez(tmp_path / "other.npz", z=x)
    with pytest.raises(TaskError, match="it needs x, or x_train"):
        load(path=path, unlabelled={"path": str(tmp_path / "other.npz")})


def more(*, seed: int) -> Any:
    return np.random.default_rng(seed).normal(size=(60, 4))[40:]


def write_table(file: Path, names: list[str], values: Any) -> str:
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(names)
        writer.writerows(values)
    return str(file)


def test_a_table_needs_no_column_of_labels(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    x = np.round(random.normal(size=(60, 2)), 6)
    rows = [[*x[index], "pq"[index % 2]] for index in range(40)]
    path = write_table(tmp_path / "data.csv", ["a", "b", "kind"], rows)
    # In another order, and with a column more.
    turned = [[*pair[::-1], 0] for pair in x[40:]]
    unlabelled = write_table(tmp_path / "more.csv", ["b", "a", "id"], turned)
    both = load(path=path, unlabelled={"path": unlabelled})
    scale = both.preprocessing
    added = both.train_inputs[-20:] * np.array(scale["std"]) + np.array(scale["mean"])
    assert np.allclose(added, x[40:], atol=1e-5)
    lacking = write_table(tmp_path / "lacking.csv", ["a", "id"], x[:, :2])
    with pytest.raises(TaskError, match="it lacks b"):
        load(path=path, unlabelled={"path": lacking})
