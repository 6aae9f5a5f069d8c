"""What is noted of an artifact: its size and the SHA-256 of what it holds."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from runner.errors import TaskError
from runner.model import Artifact


def describe(artifact: Artifact) -> dict[str, Any]:
    """Name, path, bytes and sha256 of an artifact, read back from where it lies.

    The digest of a folder is that of its files' relative names and digests, in sorted order.
    """
    path = artifact.path
    if path.is_file():
        return _entry(artifact, path.stat().st_size, file_sha256(path))
    if not path.is_dir():
        raise TaskError(f"the artifact '{artifact.name}' was announced at {path}, but is not there")
    files = sorted(file for file in path.rglob("*") if file.is_file())
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.relative_to(path).as_posix()}\0{file_sha256(file)}\n".encode())
    return _entry(artifact, sum(file.stat().st_size for file in files), whole.hexdigest())


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entry(artifact: Artifact, size: int, digest: str) -> dict[str, Any]:
    return {
        "name": artifact.name,
        "path": str(artifact.path.absolute()),
        "bytes": size,
        "sha256": digest,
    }
