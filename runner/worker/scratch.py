"""Where a rank works whose run folder is at a URI: a folder of its own on its node.

What it makes is put into storage from here, and what it is given at a URI is got to here. It is
removed when the rank's process is through; whoever starts that process sees to it.
"""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.model import Artifact, Order
from runner.storage import Remote, at

if TYPE_CHECKING:
    from pydantic import BaseModel


def folder_of(order: Order) -> Path:
    """The order's folder as this process writes it: the one it names, or one of its own."""
    place = at(order.folder)
    if isinstance(place, Remote):
        # Ends as the run's folder does, so that paths of the user's code are known by that.
        return scratch() / order.run / order.task / str(order.attempt)
    return place


@cache
def scratch() -> Path:
    """A folder of this process, below TMPDIR, that nobody else may enter."""
    return Path(tempfile.mkdtemp(prefix="runner-scratch-"))


def keep(order: Order, artifact: Artifact, described: dict[str, Any]) -> dict[str, Any]:
    """What is noted of an artifact, with the path under which it is kept: put into storage first.

    Of a gang rank 0 alone does so. Raises StorageError where that can't be done.
    """
    place = at(order.folder)
    if not isinstance(place, Remote) or order.rank > 0:
        return described
    path, folder = artifact.path.absolute(), folder_of(order)
    inside = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
    target = place / inside.as_posix()
    target.put(path)
    return {**described, "path": str(target)}


def fetch(order: Order, params: type[BaseModel]) -> dict[str, Any]:
    """The order's parameters, with each artifact that lies at a URI got to this node.

    Raises StorageError where one can't be.
    """
    found = dict(order.params)
    for name, field in params.model_fields.items():
        extra, value = field.json_schema_extra, found.get(name)
        if not isinstance(extra, dict) or "artifact" not in extra:
            continue
        if isinstance(value, str):
            found[name] = _got(order, value, name)
        elif isinstance(value, list | tuple):
            found[name] = [_got(order, each, f"{name}-{index}") for index, each in enumerate(value)]
    return found


def _got(order: Order, artifact: str, name: str) -> str:
    """Where an artifact lies on this node, as ``name`` if it was at a URI."""
    place = at(artifact)
    if not isinstance(place, Remote):
        return artifact
    place.get(_inputs(order) / name)
    return str(_inputs(order) / name)


def forget_inputs(order: Order) -> None:
    """Remove what ``fetch`` got."""
    shutil.rmtree(_inputs(order), ignore_errors=True)


def _inputs(order: Order) -> Path:
    return folder_of(order) / f"inputs-{order.rank}"
