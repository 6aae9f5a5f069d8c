"""The user's code, packed: what goes in, what stays out; the same code is the same bytes."""

from __future__ import annotations

import io
import os
import re
import zipfile
from pathlib import Path

import pytest

from runner.errors import UsageError
from runner.runs import code
from runner.runs.code import pack


def lay_out(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}\n")


def packed(folder: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(pack(folder))) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_modules_packages_and_what_lies_with_them_are_shipped(tmp_path: Path) -> None:
    names = ["mine.py", "package/__init__.py", "package/deep/er.py", "labels.txt", "leer/ü.py"]
    lay_out(tmp_path, *names)
    assert packed(tmp_path) == {name: f"# {name}\n".encode() for name in names}


def test_caches_environments_and_what_is_hidden_stay_out(tmp_path: Path) -> None:
    lay_out(
        tmp_path,
        "mine.py",
        ".env",
        ".git/config",
        "package/__pycache__/mine.pyc",
        "node_modules/left/index.js",
        "mine.egg-info/PKG-INFO",
        "my-environment/pyvenv.cfg",
        "my-environment/lib/torch.py",
        "runs/train-1/plan.json",
        "build/lib/mine.py",
        "dist/mine.whl",
        "venv/bin/python",
    )
    assert list(packed(tmp_path)) == ["mine.py"]


def test_a_package_that_is_called_as_an_output_folder_is_shipped(tmp_path: Path) -> None:
    """Only beside the spec are runs, build and dist what tools leave there."""
    lay_out(tmp_path, "package/runs/__init__.py", "package/build/graph.py", "package/dist/a.py")
    assert set(packed(tmp_path)) == {
        "package/runs/__init__.py",
        "package/build/graph.py",
        "package/dist/a.py",
    }


def test_links_are_not_followed_nor_shipped(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    lay_out(outside, "secret.txt", "folder/data.bin")
    folder = tmp_path / "work"
    lay_out(folder, "mine.py")
    (folder / "secret.txt").symlink_to(outside / "secret.txt")
    (folder / "data").symlink_to(outside / "folder", target_is_directory=True)
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "dangling").symlink_to(folder / "nowhere")
    assert list(packed(folder)) == ["mine.py"]


def test_what_is_no_regular_file_is_passed_over(tmp_path: Path) -> None:
    lay_out(tmp_path, "mine.py")
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for ever
    assert list(packed(tmp_path)) == ["mine.py"]


def test_the_same_code_is_the_same_bytes_whenever_and_wherever_it_lies(tmp_path: Path) -> None:
    for name in ("one", "two"):
        lay_out(tmp_path / name, "b.py", "a.py", "package/z.py")
        os.utime(tmp_path / name / "a.py", (0, 1_000_000 * len(name) + (name == "two")))
    (tmp_path / "two" / "a.py").chmod(0o600)
    assert pack(tmp_path / "one") == pack(tmp_path / "two")
    (tmp_path / "two" / "a.py").write_text("# another\n")
    assert pack(tmp_path / "one") != pack(tmp_path / "two")


def test_a_folder_too_large_is_refused_with_the_largest_file_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code, "MAX_BYTES", 3_000_000)
    lay_out(tmp_path, "mine.py")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.bin").write_bytes(bytes(2_500_000))
    assert set(packed(tmp_path)) == {"mine.py", "data/a.bin"}
    (tmp_path / "data" / "b.bin").write_bytes(bytes(600_000))
    with pytest.raises(UsageError, match=re.escape("data/a.bin, 2.5 MB")) as caught:
        pack(tmp_path)
    assert "more than 3 MB" in caught.value.message
    assert "workdir" in caught.value.hint
