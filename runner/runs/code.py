"""The user's own code, packed for the workers."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from runner.errors import UsageError
from runner.runs.folder import PLAN, RECORDS
from runner.spec.resources import memory_text
from runner.storage import Place

MAX_BYTES = 50_000_000
_LEFT_OUT = {"__pycache__", "node_modules"}
# What tools leave beside a project; further down it may be a package of that name.
_LEFT_OUT_AT_TOP = {"runs", "venv", "build", "dist"}


def pack(workdir: Path, *, storage: Place) -> bytes:
    """The folder as a zip: its regular files, without what is hidden, caches, environments, runs.

    A link counts as what it leads to, which may lie elsewhere; one that leads back to a folder
    around it is passed over, as what it holds is packed already. ``storage`` is where this run's
    folder goes.

    Raises UsageError if that is over 50 MB (data belongs in storage, not in the code), or for what
    can't be read.
    """
    buffer = io.BytesIO()
    total = 0
    largest: tuple[int, Path] | None = None
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in _files(workdir, storage.resolve() if isinstance(storage, Path) else None):
            name = file.relative_to(workdir)
            content, size = _read(file, MAX_BYTES - total)
            total += len(content)
            largest = max(largest or (size, file), (size, file))
            if total > MAX_BYTES:
                raise UsageError(
                    f"workdir {workdir} holds more than {MAX_BYTES // 10**6} MB to ship "
                    f"(the largest so far: {_shown(largest[1], workdir)}, "
                    f"{memory_text(largest[0])})",
                    hint="keep data out of it, or name a smaller folder as 'workdir'",
                )
            entry = zipfile.ZipInfo(name.as_posix())  # no times: same bytes
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _read(file: Path, room: int) -> tuple[bytes, int]:
    """The file's bytes, at most one more than there is room for, and how large it is."""
    try:
        os.fspath(file).encode()
        with file.open("rb") as opened:
            return opened.read(room + 1), os.fstat(opened.fileno()).st_size
    except UnicodeEncodeError:
        reason = "its name is not UTF-8"
    except OSError as error:
        reason = f"it can't be read: {error.strerror}"
    raise _unpackable(file, reason)


def _unpackable(file: Path, reason: str) -> UsageError:
    name = os.fsencode(file).decode("utf-8", "backslashreplace")
    return UsageError(
        f"{name} can't be shipped with the code: {reason}",
        hint="mend that, or name a folder without it as 'workdir'",
    )


def _files(workdir: Path, storage: Path | None) -> Iterator[Path]:
    """The files to pack, in an order that depends on their names alone."""
    try:
        for root, folders, names in os.walk(workdir, followlinks=True, onerror=_give_up):
            here = Path(root)
            folders[:] = sorted(
                name
                for name in folders
                if not name.startswith(".")
                and name not in _LEFT_OUT
                and not (name in _LEFT_OUT_AT_TOP and here == workdir)
                and not name.endswith(".egg-info")
                and not (here / name / "pyvenv.cfg").exists()
                and not _holds_runs(here / name, storage)
                and not _leads_back(here / name, workdir)
            )
            for name in sorted(names):
                if not name.startswith(".") and (here / name).is_file():
                    yield here / name
    except OSError as error:
        reason = f"it can't be read: {error.strerror}"
        raise _unpackable(Path(error.filename or workdir), reason) from None


def _give_up(error: OSError) -> None:
    raise error


def _holds_runs(folder: Path, storage: Path | None) -> bool:
    """Whether the folder is where runs go, or is itself one of this or another storage."""
    is_run = (folder / PLAN).is_file() and (folder / RECORDS).is_file()
    return is_run or folder.resolve() == storage


def _leads_back(folder: Path, workdir: Path) -> bool:
    """Whether the folder is a link to one of those that it lies in."""
    if not folder.is_symlink():
        return False
    around = [parent for parent in folder.parents if parent.is_relative_to(workdir)]
    return folder.resolve() in [parent.resolve() for parent in around]


def _shown(file: Path, workdir: Path) -> str:
    """The file's name in the folder, and where it lies if a link leads there."""
    name = file.relative_to(workdir)
    real = file.resolve()
    return f"{name}" if real == workdir.resolve() / name else f"{name}, by a link to {real}"
