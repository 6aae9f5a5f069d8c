"""A trained Keras model as a folder: ``model.keras`` and ``model.json``.

``model.keras`` is Keras's own format, of layers that plain Keras knows; ``model.json`` says, as for
PyTorch's models, what its inputs and outputs mean and what it was trained on.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras

from runner.data.dataset import Dataset, Preparation, Work, origin_of
from runner.data.origin import Origin, check_unseen
from runner.errors import TaskError
from runner.tflib.feeding import input_shape
from runner.tflib.models import ModelSpec

SCHEMA = 1
FRAMEWORK = "keras"
DESCRIPTION = "model.json"
WEIGHTS = "model.keras"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoadedModel:
    """A Keras model out of a folder, and what its inputs and outputs mean.

    ``input_shape`` is that of a sample as the model takes it: images have channels last.
    """

    model: Any
    spec: ModelSpec
    task: Work
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    trained_on: Origin

    @property
    def preparation(self) -> Preparation:
        """How data is made ready for this model."""
        return Preparation(
            task=self.task,
            classes=self.classes,
            preprocessing=self.preprocessing,
            origin=self.trained_on,
        )


def save(folder: Path, model: Any, *, spec: ModelSpec, dataset: Dataset) -> None:
    """Writes ``model`` to ``folder``, which appears whole or not at all.

    A folder of this name is replaced. ``dataset`` is what it was trained on.
    """
    description = {
        "schema": SCHEMA,
        "framework": FRAMEWORK,
        "model": {"name": spec.name, "factory": spec.factory, "args": dict(spec.args)},
        "task": dataset.task,
        "input": {
            "shape": list(input_shape(dataset)),
            "dtype": "int32" if dataset.task == "language" else "float32",
        },
        "classes": list(dataset.classes),
        "preprocessing": dict(dataset.preprocessing),
        "trained_on": {
            key: value for key, value in asdict(origin_of(dataset)).items() if value is not None
        },
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        (unfinished / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
        model.save(unfinished / WEIGHTS)
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.replace(folder)
    except BaseException:
        shutil.rmtree(unfinished)
        raise


def load(folder: Path) -> LoadedModel:
    """The model that ``save`` wrote to ``folder``.

    Raises TaskError, naming the file, if one is missing, broken, of another schema, or PyTorch's.
    """
    description = _description(folder / DESCRIPTION)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise TaskError(f"there is no {weights}", hint="name the folder of a finished Keras model")
    try:
        # In safe mode, which runs no code out of the file.
        model = keras.saving.load_model(weights, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        said = " ".join(str(error).split())[:300]
        raise TaskError(f"{weights} can't be read: {said}", hint="train the model again") from error
    try:
        return LoadedModel(
            model=model,
            spec=ModelSpec(**description["model"]),
            task=description["task"],
            input_shape=tuple(description["input"]["shape"]),
            classes=tuple(description["classes"]),
            preprocessing=description["preprocessing"],
            trained_on=Origin(**description["trained_on"]),
        )
    except (KeyError, TypeError) as error:
        raise TaskError(
            f"{folder / DESCRIPTION} does not describe a model: {error}",
            hint="it was changed by hand or by another program; train the model again",
        ) from error


def check_data(loaded: LoadedModel, data: Dataset) -> None:
    """Raises TaskError unless ``data`` is what the model was made for and holds out what is new."""
    for what, ours, theirs in (
        ("task", loaded.task, data.task),
        ("input shape", loaded.input_shape, input_shape(data)),
        ("classes", loaded.classes, data.classes),
    ):
        if ours != theirs:
            raise TaskError(
                f"the {loaded.spec} was made for data with {what} {str(ours)[:80]}, "
                f"this data has {what} {str(theirs)[:80]}",
                hint="name data like that which the model was trained on",
            )
    check_unseen(str(loaded.spec), loaded.trained_on, origin_of(data))


def size_bytes(folder: Path) -> int:
    """What the model takes on disk: its weights and its description, in bytes."""
    return sum((folder / name).stat().st_size for name in (DESCRIPTION, WEIGHTS))


def _description(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TaskError(
            f"there is no {path}", hint="name the folder of a finished model"
        ) from error
    except (OSError, ValueError) as error:
        raise TaskError(f"{path} can't be read: {error}", hint="train the model again") from error
    if not isinstance(description, dict) or description.get("schema") != SCHEMA:
        found = description.get("schema") if isinstance(description, dict) else None
        raise TaskError(
            f"{path} has schema {found}, this version reads schema {SCHEMA}",
            hint="use the version of runner that wrote it",
        )
    if description.get("framework") != FRAMEWORK:
        raise TaskError(
            f"{path} describes a model of PyTorch, and a Keras model is expected",
            hint="name the model of a task of kind keras",
        )
    return description
