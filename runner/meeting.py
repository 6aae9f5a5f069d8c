"""How the ranks of a gang find each other: by files in a folder that all of them reach."""

from __future__ import annotations

import time
from pathlib import Path

from runner.errors import TaskError
from runner.storage import Place, Remote


def tell(file: Place, text: str) -> None:
    """Writes the file, which others see whole or not at all."""
    if isinstance(file, Remote):
        file.write(text.encode())
        return
    unfinished = file.with_name(f".{file.name}")
    unfinished.write_text(text)
    unfinished.replace(file)


def hear(file: Place, *, whose: str, until_s: float) -> str:
    """What the file says, once it is there.

    Raises TaskError, which names ``whose`` it is, if it isn't at ``until_s`` of the monotonic
    clock.
    """
    while (text := _read(file)) is None:
        if time.monotonic() > until_s:
            raise TaskError(
                f"{whose} did not say where to meet: there is no {file}",
                hint="--storage must be a folder that every node of the cluster reaches, or a URI",
            )
        time.sleep(0.02 if isinstance(file, Path) else 0.25)
    return text


def is_told(file: Place) -> bool:
    """Whether the file is there."""
    return _read(file) is not None


def _read(file: Place) -> str | None:
    if isinstance(file, Remote):
        data = file.read()
        return None if data is None else data.decode()
    return file.read_text() if file.is_file() else None
