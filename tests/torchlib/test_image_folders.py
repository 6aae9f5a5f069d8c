"""Folders of images as people have them: split already, flat, empty, among other files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runner.errors import TaskError
from runner.torchlib import data


def write(folder: Path, count: int = 6, shade: int = 0, mode: str = "L") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        pixels = np.full((4, 6), shade + i, dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / f"{i}.png")


@pytest.mark.parametrize("held_out", ["test", "val", "Valid"])
def test_a_folder_that_is_split_already_stays_split(tmp_path: Path, held_out: str) -> None:
    for index, name in enumerate(("cat", "dog")):
        write(tmp_path / "train" / name, 6, 20 * index)
        write(tmp_path / held_out / name, 2, 20 * index + 100)
    loaded = data.load(path=str(tmp_path), test_fraction=0.5)
    assert loaded.classes == ("cat", "dog")
    assert len(loaded.train_inputs) == 12 and len(loaded.test_inputs) == 4
    mean, std = loaded.preprocessing["mean"][0], loaded.preprocessing["std"][0]
    assert sorted({round(v) for v in (loaded.test_inputs * std + mean).flatten().tolist()}) == [
        100, 101, 120, 121,
    ]  # fmt: skip


def test_three_parts_are_one_too_many(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        write(tmp_path / part / "cat")
        write(tmp_path / part / "dog")
    with pytest.raises(TaskError, match="has the folders test, train, val") as caught:
        data.load(path=str(tmp_path))
    assert "expected train and one of test, val" in caught.value.hint


def test_parts_without_classes_are_not_classes(tmp_path: Path) -> None:
    write(tmp_path / "train")
    write(tmp_path / "test")
    with pytest.raises(TaskError, match=r"images of .*train are without classes") as caught:
        data.load(path=str(tmp_path))
    assert "train/<class>/*.png" in caught.value.hint


def test_parts_of_other_colours(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write(tmp_path / "train" / name)
        write(tmp_path / "test" / name, mode="RGB")
    with pytest.raises(TaskError, match=r"shape \(1, 4, 6\), those held out \(3, 4, 6\)"):
        data.load(path=str(tmp_path))


@pytest.mark.parametrize("format", [None, "images"])
def test_images_without_folders_are_no_text(tmp_path: Path, format: str | None) -> None:
    write(tmp_path)
    (tmp_path / "labels.csv").write_text("0,cat\n" * 200)
    with pytest.raises(TaskError, match="not in folders of their classes, such as") as caught:
        data.load(path=str(tmp_path), format=format)
    assert f"{tmp_path.name}/<class>/*.png" in caught.value.hint
    assert data.load(path=str(tmp_path), format="text").task == "language"


def test_images_too_deep(tmp_path: Path) -> None:
    write(tmp_path / "all" / "images" / "cat")
    with pytest.raises(TaskError, match="not in folders of their classes"):
        data.load(path=str(tmp_path))


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="neither text files nor images") as caught:
        data.load(path=str(tmp_path))
    assert f"{tmp_path.name}/<class>/*.png" in caught.value.hint
