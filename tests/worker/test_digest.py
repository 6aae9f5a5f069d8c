"""What is noted of an artifact, against the system's own sha256sum."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from runner.errors import TaskError
from runner.model import Artifact
from runner.worker.digest import describe

# FIPS 180-2, appendix B: the digests of "abc" and of a million times "a".
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
MILLION_A = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"


@pytest.mark.parametrize(("data", "digest"), [(b"abc", ABC), (b"a" * 10**6, MILLION_A)])
def test_a_file_has_its_bytes_and_its_digest(tmp_path: Path, data: bytes, digest: str) -> None:
    (tmp_path / "file").write_bytes(data)
    assert describe(Artifact(name="log", path=tmp_path / "file")) == {
        "name": "log",
        "path": str(tmp_path / "file"),
        "bytes": len(data),
        "sha256": digest,
    }


def test_a_folders_digest_is_that_of_its_names_and_digests(tmp_path: Path) -> None:
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "b.txt").write_bytes(b"abc")
    (tmp_path / "model" / "deep" / "a.txt").write_bytes(b"a" * 10**6)
    noted = describe(Artifact(name="model", path=tmp_path / "model"))
    listing = f"b.txt\0{ABC}\ndeep/a.txt\0{MILLION_A}\n"
    assert noted["sha256"] == hashlib.sha256(listing.encode()).hexdigest()
    assert noted["bytes"] == 3 + 10**6


def test_a_folders_digest_changes_with_a_name_a_place_and_a_byte(tmp_path: Path) -> None:
    digests = set()
    for number, (name, text) in enumerate([("a", "x"), ("b", "x"), ("deep/a", "x"), ("a", "y")]):
        file = tmp_path / str(number) / name
        file.parent.mkdir(parents=True)
        file.write_text(text)
        digests.add(describe(Artifact(name="m", path=tmp_path / str(number)))["sha256"])
    assert len(digests) == 4
    # ... and with nothing else: the same files elsewhere are the same artifact.
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "a").write_text("x")
    assert describe(Artifact(name="m", path=tmp_path / "again"))["sha256"] in digests


def test_a_relative_path_is_noted_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    assert describe(Artifact(name="a", path=Path("file")))["path"] == str(tmp_path / "file")


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="'model' was announced"):
        describe(Artifact(name="model", path=tmp_path / "nowhere"))
