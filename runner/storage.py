"""Storage at a URI: what runner asks of any file system that fsspec knows, and no more.

An object store has neither append nor rename nor locks, so none is asked for: a file is read,
written whole, made unless it is there, listed and removed; files and folders are put and got. Paths
of this machine never come here, and fsspec is only imported where something is done at a URI.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from runner.errors import StorageError, UsageError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# What is written again and again is written at most so often, and for a twentieth of the time.
OFTEN_S, SELDOM_S, PART = 2.0, 20.0, 0.05


class Remote:
    """A file or folder at a URI, put together with ``/`` as a Path is."""

    __slots__ = ("uri",)

    def __init__(self, uri: str) -> None:
        protocol, separator, path = uri.partition("://")
        self.uri = protocol + separator + (path.rstrip("/") or path[:1])

    def __str__(self) -> str:
        return self.uri

    def __repr__(self) -> str:
        return f"Remote({self.uri!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and other.uri == self.uri

    def __hash__(self) -> int:
        return hash(self.uri)

    def __truediv__(self, name: str) -> Remote:
        return Remote(f"{self.uri}{'' if self.uri.endswith('/') else '/'}{name}")

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.uri.rpartition("/")[2]

    @property
    def parent(self) -> Remote:
        """The folder that it lies in."""
        return Remote(self.uri.rpartition("/")[0] + "/")

    def absolute(self) -> Remote:
        """The same from any working folder, which matters to ``file://runs``.

        Raises UsageError where this machine has nothing to reach it with.
        """
        if not _is_on_disk(self._files()):
            return self
        return Remote(f"file://{self._files()._strip_protocol(self.uri)}")

    def size(self) -> int | None:
        """The length of the file in bytes; None if no file is there."""
        with self._saying("looked up"):
            try:
                info = self._files().info(self.uri)
            except FileNotFoundError:
                return None
            return int(info["size"]) if info["type"] == "file" else None

    def exists(self) -> bool:
        """Whether a file or folder is there."""
        with self._saying("looked up"):
            return bool(self._files().exists(self.uri))

    def read(self, start: int = 0) -> bytes | None:
        """The file's bytes from ``start`` on; None if no file is there."""
        if start:  # which stores refuse where nothing follows
            size = self.size()
            if size is None or size <= start:
                return None if size is None else b""
        with self._saying("read"):
            try:
                data: bytes = self._files().cat_file(self.uri, start=start or None)
            except FileNotFoundError:
                return None
            return data

    def write(self, data: bytes) -> None:
        """Write the file whole: whoever reads it has what was there before, or all of this."""
        files = self._files()
        with self._saying("written"):
            if _is_on_disk(files):  # the only one of them that shows a file while it is written
                unfinished = self.parent / f".{self.name}.{os.getpid()}"
                files.pipe_file(unfinished.uri, data)
                Path(files._strip_protocol(unfinished.uri)).replace(files._strip_protocol(self.uri))
            else:
                files.pipe_file(self.uri, data)

    def create(self, data: bytes) -> bool:
        """Write the file unless it is there; whether it was not.

        Of several who try at once, one does, on a disk, S3, GCS and Azure. Of other file systems
        some take no notice of ``mode``, and write over what is there: who must be sure reads it
        back.
        """
        files = self._files()
        with self._saying("written"):
            try:
                if _is_on_disk(files):
                    with files.open(self.uri, "xb") as file:
                        file.write(data)
                else:
                    files.pipe_file(self.uri, data, mode="create")
            except FileExistsError:
                return False
            return True

    def names(self) -> list[str]:
        """The names of what lies in the folder, sorted; none if there is no such folder."""
        with self._saying("listed"):
            try:
                found = self._files().ls(self.uri, detail=False)
            except FileNotFoundError:
                return []
            return sorted({path.rstrip("/").rpartition("/")[2] for path in found})

    def sizes(self) -> dict[str, int]:
        """The files below the folder, by their paths in it: their lengths in bytes."""
        files = self._files()
        with self._saying("listed"):
            root = files._strip_protocol(self.uri).rstrip("/") + "/"
            found: Mapping[str, Any] = files.find(self.uri, detail=True)
            return {
                path.removeprefix(root): int(info["size"]) for path, info in sorted(found.items())
            }

    def put(self, source: Path) -> None:
        """Put a local file, or a folder with all that is in it, here.

        Raises StorageError if that fails, or if less than it arrived.
        """
        if source.is_file():
            names = {source: self}
        else:
            found = [file for file in sorted(source.rglob("*")) if file.is_file()]
            names = {file: self / file.relative_to(source).as_posix() for file in found}
        with self._saying("written"):
            self._files().put([str(file) for file in names], [to.uri for to in names.values()])
        there = self.sizes() if source.is_dir() else {}
        for file, to in names.items():
            arrived = there.get(file.relative_to(source).as_posix()) if there else to.size()
            if arrived != file.stat().st_size:
                raise StorageError(
                    f"{to} holds {arrived or 0} bytes after {file.stat().st_size} were written"
                )

    def get(self, target: Path) -> None:
        """Get the folder with all that is in it to the local folder ``target``.

        Raises StorageError if nothing is there.
        """
        found = {self / name: target / name for name in self.sizes()}
        if not found:
            raise StorageError(f"nothing lies at {self}")
        for file in found.values():
            file.parent.mkdir(parents=True, exist_ok=True)
        with self._saying("read"):
            self._files().get([each.uri for each in found], [str(file) for file in found.values()])

    def remove(self) -> None:
        """Remove the file, or the folder with all that is in it, if it is there."""
        with self._saying("removed"):
            try:
                self._files().rm(self.uri, recursive=True)
            except FileNotFoundError:
                return

    def options(self) -> dict[str, Any]:
        """What to give fsspec along with the URI, so that it sees what others write meanwhile."""
        is_on_disk = self.uri.startswith(("file://", "local://"))
        return {"use_listings_cache": False} | ({"auto_mkdir": True} if is_on_disk else {})

    def _files(self) -> AbstractFileSystem:
        """Its file system. Raises UsageError where this machine has nothing to reach it with."""
        from fsspec.core import url_to_fs

        try:
            files: AbstractFileSystem = url_to_fs(self.uri, **self.options())[0]
        except ImportError as error:
            raise UsageError(
                f"{self} can't be reached: {error}",
                hint=f"pip install {_package(self.uri)}, here and on every node of the cluster",
            ) from None
        except ValueError as error:
            raise UsageError(
                f"{self} can't be reached: {error}",
                hint="expected a folder, or a URI such as s3://bucket/runs or gs://bucket/runs",
            ) from None
        except Exception as error:
            raise self._error("reached", error) from error
        return files

    @contextmanager
    def _saying(self, done: str) -> Iterator[None]:
        """Raises StorageError for whatever the file system raises, which depends on its package."""
        try:
            yield
        except (StorageError, UsageError):
            raise
        except Exception as error:
            raise self._error(done, error) from error

    def _error(self, done: str, error: Exception) -> StorageError:
        said = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        package = _package(self.uri)
        return StorageError(
            f"{self} can't be {done}: {' '.join(said.split())}",
            hint=f"credentials are found as {package} documents it: in the environment, in a file "
            "of its own, or as the machine's role"
            if package
            else "",
        )


Place: TypeAlias = Path | Remote


def at(text: str) -> Place:
    """What a text names: a path of this machine, or with ``://`` in it a URI."""
    return Remote(text) if "://" in text else Path(text)


def pause_s(took_s: float) -> float:
    """How long to wait before something is written again, if writing it took ``took_s``."""
    return min(max(OFTEN_S, took_s / PART), SELDOM_S)


def _is_on_disk(files: AbstractFileSystem) -> bool:
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(files, LocalFileSystem)


def _package(uri: str) -> str:
    """The package that reaches the URI, where it is not fsspec itself."""
    from fsspec.registry import known_implementations

    about: dict[str, str] = known_implementations.get(uri.partition("://")[0], {})
    package = about.get("class", "").partition(".")[0]
    return "" if package == "fsspec" else package
