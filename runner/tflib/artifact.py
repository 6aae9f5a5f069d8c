"""A trained Keras model as a folder: ``model.keras`` and ``model.json``.

``model.keras`` is Keras's own format, of layers that plain Keras knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from runner.data.channels import input_shape
from runner.data.dataset import Dataset, origin_of
from runner.data.described import WEIGHTS, Described, read, weights_in, write
from runner.data.models import ModelSpec
from runner.errors import TaskError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoadedModel(Described):
    """A Keras model out of a folder, and what its inputs (images have channels last) mean."""

    model: Any


def save(folder: Path, model: Any, *, spec: ModelSpec, dataset: Dataset) -> None:
    """Writes ``model`` to ``folder``, which appears whole or not at all.

    A folder of this name is replaced. ``dataset`` is what it was trained on.
    """
    write(
        folder,
        describe(spec, dataset),
        framework="keras",
        put=lambda unfinished: model.save(unfinished / WEIGHTS["keras"]),
    )


def describe(spec: ModelSpec, dataset: Dataset) -> Described:
    """What ``model.json`` says of a Keras model that was trained on ``dataset``."""
    return Described(
        spec=spec,
        task=dataset.task,
        input_shape=input_shape(dataset),
        input_dtype="int32" if dataset.task == "language" else "float32",
        classes=dataset.classes,
        preprocessing=dataset.preprocessing,
        trained_on=origin_of(dataset),
    )


def load(folder: Path) -> LoadedModel:
    """The model that ``save`` wrote to ``folder``.

    Raises TaskError, naming the file, if one is missing, broken, of another schema, or PyTorch's.
    """
    described = read(folder, framework="keras")
    weights = weights_in(folder, WEIGHTS["keras"])
    try:
        # In safe mode, which runs no code out of the file.
        model = keras.saving.load_model(weights, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        said = " ".join(str(error).split())[:300]
        raise TaskError(f"{weights} can't be read: {said}", hint="train the model again") from error
    return LoadedModel(model=model, **described.values())


def check_data(loaded: LoadedModel, data: Dataset) -> None:
    """Raises TaskError unless ``data`` is what the model was made for and holds out what is new."""
    loaded.check(
        task=data.task, input_shape=input_shape(data), classes=data.classes, origin=origin_of(data)
    )
