"""CSV files as people have them: other separators, encodings, no line of names, moved columns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from runner.data import Preparation
from runner.errors import TaskError
from runner.torchlib import data
from runner.torchlib.data import Dataset, origin_of

ROWS = [(i, i * 0.5 + 1, ("chat", "été")[i % 2]) for i in range(20)]


def write(path: Path, header: str = "width,height,kind", mark: str = ",") -> Path:
    """The rows with their columns in the order of ``header``."""
    names = [name.strip('"') for name in header.split(mark)]
    known = ("width", "height", "kind")
    lines = [mark.join(str(row[known.index(name)]) for name in names) for row in ROWS]
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def like(loaded: Dataset) -> Preparation:
    return Preparation(
        task=loaded.task,
        classes=loaded.classes,
        preprocessing=loaded.preprocessing,
        origin=origin_of(loaded),
    )


@pytest.mark.parametrize("mark", [";", "\t"])
def test_other_separators_give_the_same(tmp_path: Path, mark: str) -> None:
    plain = data.load(path=str(write(tmp_path / "a.csv")))
    header = mark.join(["width", '"height"', "kind"])
    other = data.load(path=str(write(tmp_path / "b.csv", header, mark)))
    assert torch.equal(plain.train_inputs, other.train_inputs)
    assert plain.classes == other.classes == ("chat", "été")


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert data.load(path=str(path)).preprocessing["features"] == ["width", "height"]


@pytest.mark.parametrize(
    ("content", "where"), [("width,été\n1,a\n", "line 1"), ("width,b\n1,a\n2,été\n", "line 3")]
)
def test_another_encoding_is_named_with_its_line(tmp_path: Path, content: str, where: str) -> None:
    (tmp_path / "a.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(TaskError, match=f"not in UTF-8: byte 0xe9 in {where}") as caught:
        data.load(path=str(tmp_path / "a.csv"))
    assert "iconv -f windows-1252 -t utf-8 a.csv" in caught.value.hint
    (tmp_path / "a.csv").write_bytes(content.encode("utf-16"))
    with pytest.raises(TaskError, match="not in UTF-8: byte 0xff in line 1") as caught:
        data.load(path=str(tmp_path / "a.csv"))
    assert "iconv -f utf-16" in caught.value.hint


def test_a_separator_that_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="20 rows of 1 columns") as caught:
        data.load(path=str(write(tmp_path / "a.csv", "width|height|kind", "|")))
    assert caught.value.hint == "columns are separated by commas, semicolons or tabs"


@pytest.mark.parametrize("first", ["5.1,3.5,setosa", "5,3,2", "0.5,0.5,cat", "cat,0.5,0.6", "1,x"])
def test_a_file_without_a_line_of_names(tmp_path: Path, first: str) -> None:
    (tmp_path / "a.csv").write_text(f"{first}\n" * 9)
    with pytest.raises(TaskError, match=r"first line of .*a\.csv holds values") as caught:
        data.load(path=str(tmp_path / "a.csv"))
    assert "add a line of names" in caught.value.hint


@pytest.mark.parametrize(
    "header", ["0,1,2", "0,1,label", "1,2,label", "label,0,1", "land,2019,2020"]
)
def test_names_that_count_up_are_names(tmp_path: Path, header: str) -> None:
    rows = "".join(f"{i % 2},{i},{i % 2}\n" for i in range(10))
    (tmp_path / "a.csv").write_text(f"{header}\n{rows}")
    loaded = data.load(path=str(tmp_path / "a.csv"))
    assert loaded.preprocessing["features"] == header.split(",")[:2]
    assert loaded.preprocessing["label"] == header.split(",")[2]


def test_columns_are_matched_by_name_and_the_label_is_the_models(tmp_path: Path) -> None:
    trained = data.load(path=str(write(tmp_path / "a.csv")))
    moved = write(tmp_path / "b.csv", "kind,height,width")
    again = data.load(path=str(moved), like=like(trained), test_fraction=0.2)
    assert torch.equal(again.test_inputs, trained.test_inputs)
    assert torch.equal(again.test_targets, trained.test_targets)
    assert origin_of(again) == origin_of(trained)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("width,kind", "it lacks height$"),
        ("width,height,depth,kind", "it has besides depth$"),
        ("width,heigth,kind", "it lacks height and has besides heigth$"),
        ("width,height,species", "has no column 'kind' for the labels"),
    ],
)
def test_columns_that_do_not_match(tmp_path: Path, header: str, message: str) -> None:
    trained = data.load(path=str(write(tmp_path / "a.csv")))
    other = tmp_path / "b.csv"
    other.write_text(f"{header}\n" + ",".join(["1"] * header.count(",") + ["chat"]) + "\n")
    with pytest.raises(TaskError, match=message):
        data.load(path=str(other), like=like(trained))


def test_labels_are_numbered_as_the_models_classes_are(tmp_path: Path) -> None:
    trained = data.load(path=str(write(tmp_path / "a.csv")))
    few = tmp_path / "few.csv"
    few.write_text("width,height,kind\n1,2,été\n3,4,été\n", encoding="utf-8")
    loaded = data.load(path=str(few), like=like(trained))
    assert loaded.classes == ("chat", "été")
    assert loaded.test_targets.tolist() == [1, 1] and len(loaded.train_inputs) == 0
    # Standardised as the model's data was, and not by statistics of its own.
    mean, std = trained.preprocessing["mean"], trained.preprocessing["std"]
    expected = [[(1 - mean[0]) / std[0], (2 - mean[1]) / std[1]]]
    assert torch.allclose(loaded.test_inputs[:1], torch.tensor(expected))


def test_a_label_that_the_model_does_not_know(tmp_path: Path) -> None:
    trained = data.load(path=str(write(tmp_path / "a.csv")))
    (tmp_path / "b.csv").write_text("width,height,kind\n1,2,cow\n3,4,chat\n")
    with pytest.raises(TaskError, match="label 'cow' is none of the model's classes: chat, été"):
        data.load(path=str(tmp_path / "b.csv"), like=like(trained))


def test_labels_that_are_hardly_classes(tmp_path: Path) -> None:
    rows = "".join(f"{i % 3},{i + 100}\n" for i in range(30))
    (tmp_path / "a.csv").write_text(f"kind,id\n{rows}")
    with pytest.raises(TaskError, match=r"30 samples have 30 different labels \(100, 101,") as e:
        data.load(path=str(tmp_path / "a.csv"))
    assert "`label`" in e.value.hint
    assert data.load(path=str(tmp_path / "a.csv"), label="kind").classes == ("0", "1", "2")


def test_a_class_that_training_never_sees(tmp_path: Path) -> None:
    rows = "".join(f"{i},{'ab'[i % 2]}\n" for i in range(30))
    (tmp_path / "a.csv").write_text(f"x,kind\n{rows}99,rare\n")
    message = "1 of 3 classes are held out for testing and have no sample to train on: rare"
    with pytest.raises(TaskError, match=message):
        data.load(path=str(tmp_path / "a.csv"), test_fraction=0.8)
    assert 2 in data.load(path=str(tmp_path / "a.csv"), test_fraction=0.5).train_targets
