"""The files of checkpoints: on a disk, or in storage at a URI.

A checkpoint is a folder ``step-N``. On a disk it appears under its name when every file is whole;
in storage, where nothing can be renamed, ``checkpoint.json`` is put last. The sizes in that tell if
one was cut short.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.storage import Place, Remote

if TYPE_CHECKING:
    from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter

MANIFEST = "checkpoint.json"


def begin(folder: Place, step: int) -> Place:
    """Where the checkpoint of ``step`` is to be written, as it is named until it is whole."""
    return folder / (f".{_name(step)}" if isinstance(folder, Path) else _name(step))


def make(unfinished: Path) -> None:
    """Make the folder of a checkpoint on a disk, in place of one that was given up."""
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)


def tidy(folder: Place) -> None:
    """Remove what was cut short in storage, where it has the name of a whole checkpoint."""
    for each in _checkpoints(folder):
        if isinstance(each, Remote) and not is_whole(each):
            each.remove()


def writer(unfinished: Place) -> FileSystemWriter:
    """What torch.distributed.checkpoint writes with."""
    if isinstance(unfinished, Remote):
        from torch.distributed.checkpoint._fsspec_filesystem import FsspecWriter

        return FsspecWriter(str(unfinished), sync_files=False, **unfinished.options())
    from torch.distributed.checkpoint.filesystem import FileSystemWriter

    return FileSystemWriter(unfinished)


def reader(checkpoint: Place) -> FileSystemReader:
    """What it reads with: of each file no more than a rank needs."""
    if isinstance(checkpoint, Remote):
        from torch.distributed.checkpoint._fsspec_filesystem import FsspecReader

        return FsspecReader(str(checkpoint), **checkpoint.options())
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    return FileSystemReader(checkpoint)


def write(file: Place, data: Mapping[str, Any]) -> None:
    """Write a file of JSON."""
    text = json.dumps(data, indent=1)
    if isinstance(file, Remote):
        file.write(text.encode())
    else:
        file.write_text(text)


def read(file: Place) -> dict[str, Any] | None:
    """What ``write`` wrote; None if nothing is there, or not all of it."""
    try:
        text = file.read() if isinstance(file, Remote) else file.read_bytes()
        return None if text is None else dict(json.loads(text))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def complete(unfinished: Place, manifest: Mapping[str, Any], *, keep: int) -> None:
    """Make a checkpoint of what was written, and delete all but the newest ``keep``."""
    write(unfinished / MANIFEST, {**manifest, "files": _sizes(unfinished)})
    folder = unfinished.parent
    if isinstance(unfinished, Path):
        final = unfinished.with_name(unfinished.name.removeprefix("."))
        if final.exists():
            shutil.rmtree(final)
        unfinished.replace(final)
    for old in sorted(_checkpoints(folder), key=lambda each: each.name)[:-keep]:
        if isinstance(old, Remote):
            old.remove()
        else:
            shutil.rmtree(old)


def newest(folders: Sequence[Place]) -> Place | None:
    """The checkpoint of the most steps below ``folders`` of which every file is whole."""
    found = [each for folder in folders for each in _checkpoints(folder)]
    ordered = sorted(found, key=lambda each: each.name, reverse=True)
    return next((each for each in ordered if is_whole(each)), None)


def is_whole(checkpoint: Place) -> bool:
    """Whether every file of the checkpoint is there in the length it was written with."""
    manifest = read(checkpoint / MANIFEST)
    if manifest is None or not isinstance(files := manifest.get("files"), dict):
        return False
    there = _sizes(checkpoint)
    return all(there.get(name) == size for name, size in files.items())


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _checkpoints(folder: Place) -> Iterator[Place]:
    if isinstance(folder, Remote):
        yield from (folder / name for name in folder.names() if name.startswith("step-"))
    else:
        yield from folder.glob("step-*")


def _sizes(checkpoint: Place) -> dict[str, int]:
    if isinstance(checkpoint, Remote):
        found = checkpoint.sizes()
    else:
        found = {path.name: path.stat().st_size for path in sorted(checkpoint.iterdir())}
    return {name: size for name, size in found.items() if name != MANIFEST}
