"""A trained model as a folder: ``model.json`` says what it is, ``model.safetensors`` holds it.

Both can be read without this package, and reading them runs no code that came with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from runner.data.described import DESCRIPTION, WEIGHTS, Described, read, weights_in, write
from runner.data.models import ModelSpec
from runner.data.origin import Origin
from runner.errors import TaskError
from runner.torchlib.data import Dataset, origin_of
from runner.torchlib.models import build
from runner.torchlib.widths import Widths, resize


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoadedModel(Described):
    """A model out of a folder, in eval mode on the CPU, and what its inputs and outputs mean."""

    model: nn.Module


def save(
    folder: Path,
    model: nn.Module,
    *,
    spec: ModelSpec,
    dataset: Dataset,
    pruned: Widths | None = None,
    trained_on: Origin | None = None,
) -> None:
    """Writes ``model`` to ``folder``, which appears whole or not at all.

    A folder of this name is replaced. ``dataset`` is what it was trained on, unless ``trained_on``
    says otherwise. ``pruned`` are the widths of the layers that ``spec`` makes wider.
    """
    described = Described(
        spec=spec,
        task=dataset.task,
        input_shape=dataset.input_shape,
        input_dtype=str(dataset.train_inputs.dtype).removeprefix("torch."),
        classes=dataset.classes,
        preprocessing=dataset.preprocessing,
        trained_on=trained_on or origin_of(dataset),
        pruned=pruned or {},
    )
    write(
        folder,
        described,
        framework="torch",
        # Keeps one copy of weights that two layers share, and puts each in its plain order.
        put=lambda unfinished: save_model(model, str(unfinished / WEIGHTS["torch"])),
    )


def load(folder: Path) -> LoadedModel:
    """The model that ``save`` wrote to ``folder``.

    Raises TaskError, naming the file, if one is missing, broken, of another schema, or if the
    weights are not those of the model that is described.
    """
    described = read(folder, framework="torch")
    spec, model = described.spec, as_described(described)
    weights = weights_in(folder, WEIGHTS["torch"])
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


def as_described(described: Described) -> nn.Module:
    """A fresh model of this description, as wide as it says, whose weights are still to come."""
    spec = described.spec
    model = build(
        name=spec.name,
        factory=spec.factory,
        args=spec.args,
        input_shape=described.input_shape,
        num_classes=len(described.classes),
    )
    resize(model, described.pruned)
    return model


def check_data(loaded: LoadedModel, data: Dataset) -> None:
    """Raises TaskError unless ``data`` is what the model was made for and holds out what is new."""
    loaded.check(
        task=data.task, input_shape=data.input_shape, classes=data.classes, origin=origin_of(data)
    )
