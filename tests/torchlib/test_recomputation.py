"""Activation checkpointing: the same training, with what blocks compute computed twice."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from training import make_model, series, train

from runner.errors import TaskError
from runner.torchlib.blocks import blocks
from runner.torchlib.data import Dataset
from runner.torchlib.recomputation import recompute

MODELS = {
    "vit": {"dim": 16, "depth": 2, "heads": 2, "patch": 4, "dropout": 0.2},
    # Batch norm, whose statistics a second forward pass must not touch.
    "resnet": {"depth": 8, "width": 4},
}


@pytest.mark.parametrize("name", MODELS)
def test_the_same_weights_and_statistics(digits: Dataset, name: str) -> None:
    plain = make_model(digits, name, **MODELS[name])
    thrifty = make_model(digits, name, **MODELS[name])
    recompute(thrifty)
    events = [train(each, digits, max_steps=12) for each in (plain, thrifty)]
    assert plain.state_dict().keys() == thrifty.state_dict().keys()
    for key, value in plain.state_dict().items():
        assert torch.equal(value, thrifty.state_dict()[key]), key
    for metric in ("train/loss", "test/loss"):
        assert series(events[0], metric) == series(events[1], metric)


def test_blocks_run_twice_in_training_and_once_in_evaluation(digits: Dataset) -> None:
    model = make_model(digits, "vit", **MODELS["vit"])
    runs: list[bool] = []
    block = next(blocks(model))
    assert isinstance(block.up, nn.Linear)
    block.up.register_forward_hook(lambda module, *_: runs.append(module.training))
    recompute(model)
    train(model, digits, max_steps=3)
    assert runs.count(True) == 2 * 3
    # 360 samples are held out, and looked at in batches of 256.
    assert runs.count(False) == 2


def test_a_model_without_blocks(digits: Dataset) -> None:
    with pytest.raises(TaskError, match="block by block, and Sequential has none"):
        recompute(make_model(digits, hidden=[8]))
