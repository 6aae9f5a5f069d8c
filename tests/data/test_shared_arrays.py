"""Every framework trains and is measured on the same values: split, classes, mean and deviation."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner import data as shared
from runner.data.dataset import Preparation, origin_of
from runner.data.dataset import Preparation as PyTorchs
from runner.torchlib import data as pytorch
from runner.torchlib.data import origin_of as pytorchs_origin

Write = Callable[[Path], dict[str, Any]]


def table(folder: Path) -> dict[str, Any]:
    random = np.random.default_rng(0)
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["b", "a", "kind"])
        for number in range(60):
            row = random.normal(size=2)
            writer.writerow([f"{row[0]:.6f}", f"{row[1]:.6f}", "xyz"[number % 3]])
    return {"path": str(folder / "table.csv"), "format": "csv"}


def arrays(folder: Path) -> dict[str, Any]:
    random = np.random.default_rng(1)
    images = random.integers(0, 255, (40, 6, 6, 3), dtype=np.uint8)
    np.savez(folder / "arrays.npz", x=images, y=np.arange(40) % 4)
    return {"path": str(folder / "arrays.npz")}


def split_arrays(folder: Path) -> dict[str, Any]:
    random = np.random.default_rng(2)
    parts = {
        "x_train": random.normal(size=(30, 5)),
        "y_train": np.arange(30) % 3,
        "x_test": random.normal(size=(9, 5)),
        "y_test": np.arange(9) % 3,
    }
    np.savez(folder / "split.npz", **parts)
    return {"path": str(folder / "split.npz")}


def text(folder: Path) -> dict[str, Any]:
    (folder / "text.txt").write_text("the same bytes for every framework\n" * 30)
    return {"path": str(folder / "text.txt"), "block_size": 16}


SOURCES: dict[str, Write] = {
    "digits": lambda folder: {"name": "digits"},
    "stdlib": lambda folder: {"name": "stdlib", "args": {"bytes": 20_000}},
    "csv": table,
    "npz": arrays,
    "split npz": split_arrays,
    "text": text,
}


@pytest.mark.parametrize("source", SOURCES)
def test_the_arrays_are_those_that_pytorchs_tasks_get(source: str, tmp_path: Path) -> None:
    about = SOURCES[source](tmp_path)
    ours, theirs = shared.load(**about), pytorch.load(**about)
    for part in ("train_inputs", "train_targets", "test_inputs", "test_targets"):
        one, other = getattr(ours, part), getattr(theirs, part).numpy()
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    for part in ("input_shape", "classes", "task", "preprocessing"):
        assert getattr(ours, part) == getattr(theirs, part)
    told, theirs_told = origin_of(ours), pytorchs_origin(theirs)
    for part in told.__slots__:
        assert getattr(told, part) == getattr(theirs_told, part)


@pytest.mark.parametrize("source", ["digits", "csv", "text"])
def test_data_made_ready_for_a_model_is_the_same_for_all(source: str, tmp_path: Path) -> None:
    about = SOURCES[source](tmp_path)
    first = shared.load(**about)
    like = {
        "task": first.task,
        "classes": tuple(reversed(first.classes)) if source == "csv" else first.classes,
        "preprocessing": first.preprocessing,
        "origin": origin_of(first),
    }
    ours = shared.load(**about, like=Preparation(**like))  # type: ignore[arg-type]
    theirs = pytorch.load(**about, like=PyTorchs(**like))  # type: ignore[arg-type]
    for part in ("test_inputs", "test_targets"):
        np.testing.assert_array_equal(getattr(ours, part), getattr(theirs, part).numpy())
    assert ours.classes == theirs.classes


def test_another_scale_is_the_same_for_all(tmp_path: Path) -> None:
    about = SOURCES["npz"](tmp_path)
    ours, theirs = shared.load(**about), pytorch.load(**about)
    other = {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0]}
    np.testing.assert_array_equal(
        ours.standardised_as(other).test_inputs, theirs.standardised_as(other).test_inputs.numpy()
    )


def test_arrays_are_loaded_without_any_framework() -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom runner.data import load\nload(name='digits')\n"
        "print([name for name in ('torch', 'tensorflow', 'ray') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"
