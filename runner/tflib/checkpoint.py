"""Checkpoints of a Keras training: all that it needs to go on as if it had never stopped.

One is a folder ``step-N`` with ``variables.npz`` (weights, the optimizer's state, and the states of
the random generators that layers such as dropout draw from) and ``checkpoint.json`` (the step, and
what is not a variable). On a disk it appears under its name when both are whole; in storage, where
nothing can be renamed, ``checkpoint.json`` is put last. The size in that tells if the other was cut
short.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from runner.errors import TaskError
from runner.storage import Place, Remote

MANIFEST, VARIABLES = "checkpoint.json", "variables.npz"


class Checkpoints:
    """The checkpoints of one training, written to ``folder`` every ``every_steps`` steps.

    The newest ``keep`` stay. ``earlier`` are the folders of attempts before this one, the newest
    first. Of several processes that train together one ``is_writer``, and all of them restore.
    """

    def __init__(
        self,
        folder: Place,
        *,
        every_steps: int,
        keep: int,
        model: Any,
        optimizer: Any,
        earlier: Sequence[Place] = (),
        is_writer: bool = True,
    ) -> None:
        self.folder = folder
        self.every_steps = every_steps
        self.keep = keep
        self.earlier = earlier
        self.is_writer = is_writer
        self._variables = [*model.variables, *optimizer.variables]

    def steps_left(self, step: int) -> int:
        """How many steps there are from ``step`` to the next checkpoint."""
        return self.every_steps - step % self.every_steps

    def save_if_due(self, step: int, notes: Mapping[str, float]) -> None:
        """Writes a checkpoint if ``every_steps`` divides the step, and deletes what is not kept."""
        if step % self.every_steps or not self.is_writer:
            return
        content = io.BytesIO()
        values = {
            str(number): keras.ops.convert_to_numpy(variable)
            for number, variable in enumerate(self._variables)
        }
        np.savez(content, **values)
        variables = content.getvalue()
        manifest = {"schema": 1, "step": step, "notes": dict(notes), "size": len(variables)}
        text = json.dumps(manifest, indent=1).encode()
        name = f"step-{step:08d}"
        if isinstance(self.folder, Remote):
            (self.folder / name / VARIABLES).write(variables)
            (self.folder / name / MANIFEST).write(text)
        else:
            unfinished = self.folder / f".{name}"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            (unfinished / VARIABLES).write_bytes(variables)
            (unfinished / MANIFEST).write_bytes(text)
            shutil.rmtree(self.folder / name, ignore_errors=True)
            unfinished.replace(self.folder / name)
        for old in _checkpoints(self.folder)[: -self.keep]:
            old.remove() if isinstance(old, Remote) else shutil.rmtree(old)

    def restore(self) -> tuple[int, dict[str, float]] | None:
        """Sets every variable to the newest whole checkpoint's; its step and notes, None without.

        Raises TaskError if it is of another model or optimizer.
        """
        for folder in (self.folder, *self.earlier):
            for checkpoint in reversed(_checkpoints(folder)):
                manifest = _manifest(checkpoint)
                variables = None if manifest is None else _read(checkpoint / VARIABLES)
                if manifest and variables is not None and len(variables) == manifest["size"]:
                    self._take(variables, checkpoint)
                    return manifest["step"], manifest["notes"]
        return None

    def _take(self, content: bytes, checkpoint: Place) -> None:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            values = [archive[str(number)] for number in range(len(archive.files))]
        ours = [tuple(variable.shape) for variable in self._variables]
        if ours != [value.shape for value in values]:
            raise TaskError(
                f"{checkpoint} is the checkpoint of another model or optimizer",
                hint="submit the job again, so that it begins anew",
            )
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)


def _checkpoints(folder: Place) -> list[Any]:
    """Those in the folder, by their steps; in storage one that was cut short may be among them."""
    if isinstance(folder, Remote):
        return [folder / name for name in folder.names() if name.startswith("step-")]
    return sorted(folder.glob("step-*"))


def _read(file: Place) -> bytes | None:
    if isinstance(file, Remote):
        return file.read()
    return file.read_bytes() if file.is_file() else None


def _manifest(checkpoint: Place) -> dict[str, Any] | None:
    """What a checkpoint says of itself; None where it isn't whole."""
    try:
        return dict(json.loads(_read(checkpoint / MANIFEST) or b""))
    except ValueError:
        return None
