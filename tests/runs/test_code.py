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
from tests.runs.plans import finished_run


def lay_out(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}\n")


def packed(folder: Path, storage: str = "runs") -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(pack(folder, storage=folder / storage))) as archive:
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


def test_the_storage_stays_out_whatever_it_is_called(tmp_path: Path) -> None:
    lay_out(tmp_path, "mine.py", "out/train-1/plan.json", "out/notes.txt", "sub/out/a.py")
    assert set(packed(tmp_path, "out")) == {"mine.py", "sub/out/a.py"}
    assert set(packed(tmp_path, "sub/out")) == {"mine.py", "out/train-1/plan.json", "out/notes.txt"}
    # By whatever way it is named.
    (tmp_path / "link").symlink_to(tmp_path / "out", target_is_directory=True)
    assert set(packed(tmp_path, "sub/../link")) == {"mine.py", "sub/out/a.py"}


def test_runs_stay_out_where_storage_is_the_folder_itself_or_was_another(tmp_path: Path) -> None:
    finished_run(tmp_path, "train-1")
    finished_run(tmp_path / "earlier", "train-2")
    lay_out(tmp_path, "mine.py", "earlier/mine.py", "plans/plan.json")
    assert set(packed(tmp_path, ".")) == {"mine.py", "earlier/mine.py", "plans/plan.json"}


def test_what_links_lead_to_is_shipped(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    lay_out(outside, "shared.py", "package/__init__.py", "package/.hidden")
    folder = tmp_path / "work"
    lay_out(folder, "mine.py")
    (folder / "linked.py").symlink_to(outside / "shared.py")
    (folder / "package").symlink_to(outside / "package", target_is_directory=True)
    (folder / "again").symlink_to("package", target_is_directory=True)
    assert packed(folder) == {
        "linked.py": b"# shared.py\n",
        "mine.py": b"# mine.py\n",
        "again/__init__.py": b"# package/__init__.py\n",
        "package/__init__.py": b"# package/__init__.py\n",
    }


def test_links_that_lead_nowhere_or_back_are_passed_over(tmp_path: Path) -> None:
    folder, other = tmp_path / "work", tmp_path / "other"
    lay_out(folder, "mine.py", "sub/a.py")
    lay_out(other, "b.py")
    (folder / "dangling.py").symlink_to(folder / "nowhere")
    (folder / "self.py").symlink_to("self.py")
    (folder / "sub" / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "other").symlink_to(other, target_is_directory=True)
    (other / "back").symlink_to(folder, target_is_directory=True)
    assert set(packed(folder)) == {"mine.py", "sub/a.py", "other/b.py"}
    # The folder may itself be reached by a link.
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    assert set(packed(tmp_path / "link")) == {"mine.py", "sub/a.py", "other/b.py"}


def test_a_link_to_what_is_too_large_is_refused_with_where_it_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code, "MAX_BYTES", 3_000_000)
    large = tmp_path / "datasets" / "a.bin"
    large.parent.mkdir()
    with large.open("wb") as file:
        file.truncate(10**12)  # holes: as large as can be, and nearly nothing on the disk
    lay_out(tmp_path / "work", "mine.py")
    (tmp_path / "work" / "data").symlink_to(large.parent, target_is_directory=True)
    with pytest.raises(UsageError, match="more than 3 MB") as caught:
        packed(tmp_path / "work")
    assert f"data/a.bin, by a link to {large}, 1TB" in caught.value.message


def test_what_cannot_be_read_or_named_is_refused(tmp_path: Path) -> None:
    # A file that answers every read with an error, as root may read any file.
    (tmp_path / "mine.py").symlink_to("/proc/self/mem")
    with pytest.raises(UsageError, match="it can't be read: Input/output error") as caught:
        packed(tmp_path)
    assert str(tmp_path / "mine.py") in caught.value.message
    (tmp_path / "mine.py").unlink()
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("")
    with pytest.raises(UsageError, match=r"caf\\xe9.txt can't be shipped .* is not UTF-8"):
        packed(tmp_path)


def test_what_is_no_regular_file_is_passed_over(tmp_path: Path) -> None:
    lay_out(tmp_path, "mine.py")
    os.mkfifo(tmp_path / "pipe")  # reading it would wait for ever
    assert list(packed(tmp_path)) == ["mine.py"]


def test_the_same_code_is_the_same_bytes_whenever_and_wherever_it_lies(tmp_path: Path) -> None:
    for name in ("one", "two"):
        lay_out(tmp_path / name, "b.py", "a.py", "package/z.py")
        os.utime(tmp_path / name / "a.py", (0, 1_000_000 * len(name) + (name == "two")))
    (tmp_path / "two" / "a.py").chmod(0o600)
    one, two = tmp_path / "one", tmp_path / "two"
    assert pack(one, storage=tmp_path) == pack(two, storage=tmp_path)
    (two / "a.py").write_text("# another\n")
    assert pack(one, storage=tmp_path) != pack(two, storage=tmp_path)


def test_a_folder_too_large_is_refused_with_the_largest_file_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code, "MAX_BYTES", 3_000_000)
    lay_out(tmp_path, "mine.py")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.bin").write_bytes(bytes(2_500_000))
    assert set(packed(tmp_path)) == {"mine.py", "data/a.bin"}
    (tmp_path / "data" / "b.bin").write_bytes(bytes(600_000))
    with pytest.raises(UsageError, match=re.escape("data/a.bin, 2.5MB")) as caught:
        packed(tmp_path)
    assert "more than 3 MB" in caught.value.message
    assert "workdir" in caught.value.hint
