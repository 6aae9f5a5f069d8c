"""What is said of a model's size before it is built is what it has when it is."""

from __future__ import annotations

from typing import Any

import pytest

from runner.builtin import DATA_ARGUMENTS
from runner.kinds.memory import copy_fits, device_bytes, parameters_of, training_bytes
from runner.kinds.training import TrainingParams

MODELS: list[tuple[str, dict[str, Any]]] = [
    ("mlp", {}),
    ("mlp", {"hidden": []}),
    ("mlp", {"hidden": [7, 3], "dropout": 0.1}),
    ("convnet", {}),
    ("convnet", {"channels": [3], "hidden": 0}),
    ("convnet", {"channels": [4, 6, 8], "hidden": 5, "pool_every": 1, "dropout": 0.5}),
    ("resnet", {}),
    ("resnet", {"depth": 8, "width": 3}),
    ("vit", {}),
    ("vit", {"patch": 2, "dim": 12, "depth": 1, "heads": 3}),
    ("gpt", {}),
    ("gpt", {"tied": False, "dim": 16, "depth": 3, "heads": 2, "block_size": 32}),
    ("gpt", {"block_size": 300, "dim": 8}),
]


def of(model: dict[str, Any], data: dict[str, Any]) -> TrainingParams:
    return TrainingParams.model_validate({"model": model, "data": data, "max_epochs": 1})


@pytest.mark.parametrize("data", DATA_ARGUMENTS)
def test_parameters_are_as_many_as_the_built_model_has(data: Any) -> None:
    from runner.torchlib.data import load
    from runner.torchlib.models import build

    loaded = load(name=data, args={"bytes": 20_000} if data == "stdlib" else {}, block_size=128)
    compared = 0
    for name, args in MODELS:
        if (name == "gpt") != (data == "stdlib"):
            continue
        shape = (args["block_size"],) if args.get("block_size") else loaded.input_shape
        built = build(name=name, args=args, input_shape=shape, num_classes=len(loaded.classes))
        known = parameters_of(of({"name": name, "args": args}, {"name": data}))
        assert known == sum(each.numel() for each in built.parameters()), (name, args)
        compared += 1
    assert compared >= 3


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ({"factory": "own:make"}, {"name": "digits"}),
        ({"name": "mlp"}, {"path": "table.csv"}),
        ({"name": "mlp"}, {"factory": "own:make"}),
    ],
)
def test_what_only_loading_or_building_tells_is_not_guessed(
    model: dict[str, Any], data: dict[str, Any]
) -> None:
    assert parameters_of(of(model, data)) is None


def test_text_of_ones_own_is_known_as_well() -> None:
    own = parameters_of(of({"name": "gpt"}, {"path": "corpus.txt"}))
    assert own == parameters_of(of({"name": "gpt"}, {"name": "stdlib"})) is not None


def test_a_copy_fits_into_half_of_a_device() -> None:
    # fp32 weights, gradients and Adam's two moments.
    assert training_bytes(10**9) == 16 * 10**9
    assert copy_fits(10**9, 32e9) is True
    assert copy_fits(10**9, 31.9e9) is False
    assert copy_fits(10**9, 16e9, parts=2) is True
    assert copy_fits(None, 1e9) is None and copy_fits(1, None) is None


def test_the_memory_of_devices_is_that_of_their_type() -> None:
    assert device_bytes("H100") == device_bytes("h100") == 80e9
    assert device_bytes("Odd-GPU") is None and device_bytes(None) is None
