"""A trained model as a folder: ``model.json`` says what it is, ``model.safetensors`` holds it.

Both can be read without this package, and reading them runs no code that came with them.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from runner.data.dataset import Preparation, Work
from runner.data.origin import Origin, check_unseen
from runner.errors import TaskError
from runner.torchlib.data import Dataset, origin_of
from runner.torchlib.models import ModelSpec, build

SCHEMA = 1
DESCRIPTION = "model.json"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoadedModel:
    """A model out of a folder, in eval mode on the CPU, and what its inputs and outputs mean.

    ``preprocessing`` is what the data it was trained on went through (see Dataset), ``trained_on``
    tells which data that was.
    """

    model: nn.Module
    spec: ModelSpec
    task: Work
    input_shape: tuple[int, ...]
    input_dtype: str
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


def save(folder: Path, model: nn.Module, *, spec: ModelSpec, dataset: Dataset) -> None:
    """Writes ``model`` to ``folder``, which appears whole or not at all.

    A folder of this name is replaced. ``dataset`` is what it was trained on.
    """
    description = {
        "schema": SCHEMA,
        "model": {"name": spec.name, "factory": spec.factory, "args": dict(spec.args)},
        "task": dataset.task,
        "input": {
            "shape": list(dataset.input_shape),
            "dtype": str(dataset.train_inputs.dtype).removeprefix("torch."),
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
        # Keeps one copy of weights that two layers share, and puts each in its plain order.
        save_model(model, str(unfinished / WEIGHTS))
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.replace(folder)
    except BaseException:
        shutil.rmtree(unfinished)
        raise


def load(folder: Path) -> LoadedModel:
    """The model that ``save`` wrote to ``folder``.

    Raises TaskError, naming the file, if one is missing, broken, of another schema, or if the
    weights are not those of the model that is described.
    """
    description = _description(folder / DESCRIPTION)
    try:
        spec = ModelSpec(**description["model"])
        loaded = LoadedModel(
            model=build(
                name=spec.name,
                factory=spec.factory,
                args=spec.args,
                input_shape=tuple(description["input"]["shape"]),
                num_classes=len(description["classes"]),
            ),
            spec=spec,
            task=description["task"],
            input_shape=tuple(description["input"]["shape"]),
            input_dtype=description["input"]["dtype"],
            classes=tuple(description["classes"]),
            preprocessing=description["preprocessing"],
            trained_on=Origin(**description["trained_on"]),
        )
    except (KeyError, TypeError) as error:
        raise TaskError(
            f"{folder / DESCRIPTION} does not describe a model: {error}",
            hint="it was changed by hand or by another program; train the model again",
        ) from error
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise TaskError(f"there is no {weights}", hint="name the folder of a finished model")
    try:
        load_model(loaded.model, str(weights))
    except (SafetensorError, OSError) as error:
        raise TaskError(
            f"{weights} can't be read: {error}", hint="train the model again"
        ) from error
    except RuntimeError as error:
        raise TaskError(
            f"{weights} does not hold the weights of the {spec} in {DESCRIPTION}: "
            f"{' '.join(str(error).split())}",
            hint="the factory's code has changed since, or files were mixed up",
        ) from error
    loaded.model.eval()
    return loaded


def check_data(loaded: LoadedModel, data: Dataset) -> None:
    """Raises TaskError unless ``data`` is what the model was made for and holds out what is new.

    It must have the inputs and the classes the model was made for; where it is the data that the
    model was trained on, the same samples must be for training.
    """
    for what, ours, theirs in (
        ("task", loaded.task, data.task),
        ("input shape", loaded.input_shape, data.input_shape),
        ("classes", loaded.classes, data.classes),
    ):
        if ours != theirs:
            is_length = what == "input shape" and loaded.task == "language"
            raise TaskError(
                f"the {loaded.spec} was made for data with {what} {_short(ours)}, "
                f"this data has {what} {_short(theirs)}",
                hint=f"write block_size: {loaded.input_shape[0]} in the new model's args"
                if is_length
                else "name data like that which the model was trained on",
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
    if description.get("framework", "torch") != "torch":
        raise TaskError(
            f"{path} describes a Keras model, and a model of PyTorch is expected",
            hint="a Keras model is measured by the task of kind keras that trains it",
        )
    return description


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
