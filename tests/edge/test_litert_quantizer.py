"""What ai-edge-quantizer makes of a model that came from PyTorch by litert-torch."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from runner.data.models import ModelSpec
from runner.data.origin import Origin
from runner.edge.quantizers.litert import BLOCKS, _scope, quantize
from runner.edge.quantizers.recipe import Recipe
from runner.edge.runtimes.litert import open_model
from runner.errors import TaskError
from runner.serving.measuring import Agreement
from runner.torchlib.artifact import LoadedModel
from runner.torchlib.exporting import exported

WIDE = 64


def test_the_scope_of_a_module_is_its_own_operators_and_no_others() -> None:
    import re

    name = "net.ViT/torch.nn.Sequential_blocks/net.Block_0/torch.nn.Linear_up;1"
    assert re.search(_scope("blocks.0.up"), name)
    assert not re.search(_scope("blocks.0"), name)
    assert not re.search(_scope("blocks.10.up"), name)
    assert not re.search(_scope("blocks.0.upper"), name)


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(WIDE, WIDE), nn.ReLU(), nn.Linear(WIDE, WIDE), nn.ReLU(), nn.Linear(WIDE, 4)
    )
    return LoadedModel(
        model=model.eval(),
        spec=ModelSpec(factory="mine:net", args={}),
        task="classification",
        input_shape=(WIDE,),
        input_dtype="float32",
        classes=("a", "b", "c", "d"),
        preprocessing={},
        trained_on=Origin(samples="", train="", test="", train_samples=0, test_samples=0),
    )


@pytest.fixture(scope="module")
def source(loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("litert_torch") is None:
        pytest.skip("needs litert-torch: pip install 'runner[litert]'")
    from runner.torchlib.to_litert import write_litert

    path = tmp_path_factory.mktemp("source") / "float.tflite"
    write_litert(exported(loaded, batch_size=1), path, what="net")
    return path


@pytest.fixture(scope="module")
def samples() -> Any:
    return np.random.default_rng(0).standard_normal((64, WIDE)).astype(np.float32)


@pytest.mark.parametrize(
    ("scheme", "ratio"),
    [("int8-static", 0.45), ("int8-dynamic", 0.4), ("int8-weight", 0.4), ("int4-weight", 0.3)],
)
def test_litert_gives_much_the_same_answers_from_a_much_smaller_file(
    scheme: str, ratio: float, loaded: LoadedModel, source: Path, samples: Any, tmp_path: Path
) -> None:
    made = tmp_path / "model.tflite"
    quantize(source, made, Recipe(scheme=scheme), samples)
    opened = open_model(made, loaded, threads=1, device="cpu")
    ours = np.concatenate([opened.call(opened.ready(each[None])) for each in samples])
    theirs = loaded.model(torch.from_numpy(samples)).detach().numpy()
    agreed = Agreement.of(ours, theirs)
    assert agreed.largest_difference > 0.0
    assert agreed.cosine > (0.97 if scheme in ("int4-weight", "int8-static") else 0.999), agreed
    assert made.stat().st_size < ratio * source.stat().st_size


def test_a_file_of_several_rows_is_calibrated_with_as_many(
    loaded: LoadedModel, source: Path, samples: Any, tmp_path: Path
) -> None:
    from runner.torchlib.to_litert import write_litert

    write_litert(exported(loaded, batch_size=7), tmp_path / "float.tflite", what="net")
    made = tmp_path / "model.tflite"
    quantize(tmp_path / "float.tflite", made, Recipe(scheme="int8-static"), samples)
    opened = open_model(made, loaded, threads=1, device="cpu")
    ours = opened.call(opened.ready(samples[:7]))
    theirs = loaded.model(torch.from_numpy(samples[:7])).detach().numpy()
    assert Agreement.of(ours, theirs).cosine > 0.97


def test_a_layer_that_is_to_stay_in_float_does(source: Path, samples: Any, tmp_path: Path) -> None:
    whole, partly = tmp_path / "whole.tflite", tmp_path / "partly.tflite"
    recipe = Recipe(scheme="int8-dynamic")
    quantize(source, whole, recipe, samples)
    quantize(source, partly, replace(recipe, floats=("2",)), samples)
    assert partly.stat().st_size - whole.stat().st_size > 2.5 * WIDE * WIDE


def test_blocks_that_no_kernel_has_are_refused(source: Path, samples: Any, tmp_path: Path) -> None:
    recipe = Recipe(scheme="int4-weight", granularity="group", group_size=48)
    with pytest.raises(TaskError, match="no groups of 48") as error:
        quantize(source, tmp_path / "model.tflite", recipe, samples)
    assert all(str(each) in error.value.hint for each in BLOCKS)
