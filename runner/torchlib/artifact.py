"""A trained model as a folder: ``model.json`` says what it is, ``model.safetensors`` holds it.

Both can be read without this package, and reading them runs no code that came with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from runner.data.described import DESCRIPTION, Described, read, weights_in, write
from runner.data.models import ModelSpec
from runner.errors import TaskError
from runner.torchlib.data import Dataset, origin_of
from runner.torchlib.models import build

WEIGHTS = "model.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoadedModel(Described):
    """A model out of a folder, in eval mode on the CPU, and what its inputs and outputs mean."""

    model: nn.Module


def save(folder: Path, model: nn.Module, *, spec: ModelSpec, dataset: Dataset) -> None:
    """Writes ``model`` to ``folder``, which appears whole or not at all.

    A folder of this name is replaced. ``dataset`` is what it was trained on.
    """
    described = Described(
        spec=spec,
        task=dataset.task,
        input_shape=dataset.input_shape,
        input_dtype=str(dataset.train_inputs.dtype).removeprefix("torch."),
        classes=dataset.classes,
        preprocessing=dataset.preprocessing,
        trained_on=origin_of(dataset),
    )
    write(
        folder,
        described,
        framework="torch",
        # Keeps one copy of weights that two layers share, and puts each in its plain order.
        put=lambda unfinished: save_model(model, str(unfinished / WEIGHTS)),
    )


def load(folder: Path) -> LoadedModel:
    """The model that ``save`` wrote to ``folder``.

    Raises TaskError, naming the file, if one is missing, broken, of another schema, or if the
    weights are not those of the model that is described.
    """
    described = read(folder, framework="torch")
    spec = described.spec
    model = build(
        name=spec.name,
        factory=spec.factory,
        args=spec.args,
        input_shape=described.input_shape,
        num_classes=len(described.classes),
    )
    weights = weights_in(folder, WEIGHTS)
    try:
        load_model(model, str(weights))
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
    model.eval()
    return LoadedModel(model=model, **described.values())


def check_data(loaded: LoadedModel, data: Dataset) -> None:
    """Raises TaskError unless ``data`` is what the model was made for and holds out what is new."""
    loaded.check(
        task=data.task, input_shape=data.input_shape, classes=data.classes, origin=origin_of(data)
    )


def size_bytes(folder: Path) -> int:
    """What the model takes on disk: its weights and its description, in bytes."""
    return sum((folder / name).stat().st_size for name in (DESCRIPTION, WEIGHTS))
