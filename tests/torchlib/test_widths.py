"""Layers made narrower, written down as widths, and read again without the code that did it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from training import make_model

from runner.data.described import read
from runner.data.models import ModelSpec
from runner.errors import TaskError
from runner.torchlib.artifact import load, save
from runner.torchlib.costs import of_folder
from runner.torchlib.data import Dataset
from runner.torchlib.forms import write_form
from runner.torchlib.widths import changed, narrow, resize, widths

ARGS: dict[str, Any] = {"channels": [8, 8], "hidden": 0}


@pytest.fixture
def narrower(tmp_path: Path, digits: Dataset) -> nn.Module:
    """A model of 8 and 6 channels, written to the folder ``kept``."""
    whole = make_model(digits, "convnet", **ARGS).eval()
    model = make_model(digits, "convnet", **ARGS).eval()
    gone = torch.tensor([1, 4])
    kept = torch.tensor([c for c in range(8) if c not in gone])
    narrow(model[3], "out", kept)
    narrow(model[4], "out", kept)
    # Pixel by pixel, so that a channel is every eighth feature.
    narrow(model[8], "in", torch.arange(16 * 8).view(16, 8)[:, kept].flatten())
    save(
        tmp_path / "kept",
        model,
        spec=ModelSpec(name="convnet", args=ARGS),
        dataset=digits,
        pruned=changed(widths(whole), widths(model)),
    )
    return model


def test_a_narrower_model_is_loaded_as_it_was(
    tmp_path: Path, digits: Dataset, narrower: nn.Module
) -> None:
    loaded = load(tmp_path / "kept")
    assert loaded.pruned == {
        "3": {"out_channels": 6},
        "4": {"num_features": 6},
        "8": {"in_features": 96},
    }
    inputs = digits.test_inputs[:9]
    with torch.no_grad():
        assert torch.equal(loaded.model(inputs), narrower(inputs))
    assert str(loaded.model[3]).startswith("Conv2d(8, 6,")


def test_it_can_be_loaded_without_this_package(
    tmp_path: Path, digits: Dataset, narrower: nn.Module
) -> None:
    described = json.loads((tmp_path / "kept/model.json").read_text())
    # What the arguments say, by hand; then each layer again with the widths that are given.
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    model[7].forward = lambda images: images.permute(0, 2, 3, 1).flatten(1)  # type: ignore[method-assign]
    arguments: dict[type, tuple[str, ...]] = {
        nn.Conv2d: ("in_channels", "out_channels", "kernel_size", "padding"),
        nn.BatchNorm2d: ("num_features",),
        nn.Linear: ("in_features", "out_features"),
    }
    for name, sizes in described["pruned"].items():
        layer = model[int(name)]
        given = {each: getattr(layer, each) for each in arguments[type(layer)]}
        bias = {} if isinstance(layer, nn.BatchNorm2d) else {"bias": layer.bias is not None}
        model[int(name)] = type(layer)(**{**given, **sizes, **bias})
    model.load_state_dict(load_file(tmp_path / "kept/model.safetensors"))
    inputs = digits.test_inputs[:9]
    with torch.no_grad():
        assert torch.allclose(model.eval()(inputs), narrower(inputs), atol=1e-5)


def test_depthwise_convolutions_are_as_wide_on_both_sides() -> None:
    def make() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv1d(4, 2, 1))

    model = make()
    narrow(model[0], "out", torch.tensor([0, 3]))
    sizes = changed(widths(make()), widths(model))
    assert sizes == {"0": {"out_channels": 2, "in_channels": 2, "groups": 2}}
    again = make()
    resize(again, sizes)
    again.load_state_dict(model.state_dict())
    images = torch.randn(1, 2, 3, 3)
    assert torch.equal(again[0](images), model[0](images))


@pytest.mark.parametrize(
    ("pruned", "said"),
    [
        ({"30": {"out_channels": 6}}, "the model has no layer 30"),
        ({"2": {"out_channels": 6}}, "the layer 2 is a ReLU, which can't be given out_channels 6"),
        ({"3": {"out_channels": 9}}, "the layer 3 is a Conv2d, which can't be given out_chann"),
        ({"3": {"out_channels": 0}}, "can't be given out_channels 0"),
        ({"3": 6}, "does not describe a model: 'pruned' does not hold widths"),
        ({"3": {"out_channels": "6"}}, "does not describe a model: 'pruned' does not hold widths"),
        ({"3": {"out_channels": 5}}, "does not hold the weights"),
    ],
)
def test_widths_that_are_not_the_models(
    tmp_path: Path, narrower: nn.Module, pruned: dict[str, Any], said: str
) -> None:
    path = tmp_path / "kept/model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pruned": pruned}))
    with pytest.raises(TaskError, match=said):
        load(tmp_path / "kept")


def test_a_model_as_wide_as_it_was_made_says_nothing_of_widths(
    tmp_path: Path, digits: Dataset
) -> None:
    model = make_model(digits)
    save(tmp_path / "kept", model, spec=ModelSpec(name="mlp"), dataset=digits)
    assert "pruned" not in (tmp_path / "kept/model.json").read_text()
    assert read(tmp_path / "kept", framework="torch").pruned == {}


def test_costs_are_those_of_the_narrower_model_also_once_it_is_exported(
    tmp_path: Path, narrower: nn.Module
) -> None:
    write_form(tmp_path / "exported", load(tmp_path / "kept"), format="torch-export")
    # 64 pixels, then 16: 3 x 3 weights each, 1 to 8 to 6 channels, and ten classes.
    expected = 2 * (64 * 9 * (8 + 8 * 6) + 16 * 6 * 10)
    for folder in ("kept", "exported"):
        assert of_folder(tmp_path / folder).operations == expected
