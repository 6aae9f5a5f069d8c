"""Keras's models are PyTorch's networks: as many parameters, the right shapes, plain files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from runner.builtin import MODEL_ARGUMENTS
from runner.data.channels import for_keras
from runner.data.dataset import Dataset
from runner.data.text import from_text
from runner.errors import TaskError

MODELS = {
    "mlp": {"hidden": [16, 8], "dropout": 0.3},
    "convnet": {"channels": [4, 8], "hidden": 8, "pool_every": 1, "dropout": 0.1},
    "vit": {"patch": 4, "dim": 16, "depth": 2, "heads": 2, "dropout": 0.1},
    "gpt": {"dim": 16, "depth": 2, "heads": 2, "dropout": 0.1},
}


def text() -> Dataset:
    return from_text(b"what the text says, over and over. " * 40, block_size=12)


def data_for(kit: ModuleType, name: str) -> Dataset:
    return text() if name == "gpt" else kit.digits()


def built(kit: ModuleType, name: str, args: dict[str, Any] | None = None, **more: Any) -> Any:
    spec = kit.models.ModelSpec(name=name, args=MODELS[name] if args is None else args)
    return kit.models.build(spec, data_for(kit, name), **more)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_as_many_parameters_as_pytorchs(kit: ModuleType, name: str) -> None:
    from runner.torchlib.measure import count_parameters
    from runner.torchlib.models import build

    data = data_for(kit, name)
    theirs = build(
        name=name,
        args=MODELS[name],
        input_shape=data.input_shape,
        num_classes=len(data.classes),
    )
    assert kit.figures.count_parameters(built(kit, name)) == count_parameters(theirs)


def test_an_untied_gpt_has_a_matrix_of_its_own_to_predict_with(kit: ModuleType) -> None:
    tied, untied = (
        kit.figures.count_parameters(built(kit, "gpt", {**MODELS["gpt"], "tied": tied}))
        for tied in (True, False)
    )
    assert untied - tied == 256 * 16


def test_gpt_sees_nothing_of_what_comes_after(kit: ModuleType) -> None:
    model = built(kit, "gpt")
    inputs = text().test_inputs[:1].astype(np.int32)
    changed = inputs.copy()
    changed[0, 7] += 1
    difference = np.abs(model(inputs).numpy() - model(changed).numpy())[0].max(1)
    assert (difference[:7] == 0).all()
    assert (difference[7:] > 0).all()


def test_a_seed_gives_the_same_weights_and_another_others(kit: ModuleType) -> None:
    one, same, other = (built(kit, "vit", seed=seed) for seed in (1, 1, 2))
    for ours, theirs in zip(one.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert abs(one.get_weights()[0] - other.get_weights()[0]).max() > 1e-3


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_learnt_and_comes_back_as_it_was_written(
    kit: ModuleType, name: str, tmp_path: Path
) -> None:
    data = data_for(kit, name)
    trained = kit.train(
        data, name=name, args=MODELS[name], total_steps=30, optimizer="adamw", learning_rate=1e-2
    )
    assert trained.losses[-5:].mean() < trained.losses[:5].mean() - 0.2
    spec = kit.models.ModelSpec(name=name, args=MODELS[name])
    kit.artifact.save(tmp_path / "model", trained.model, spec=spec, dataset=data)
    loaded = kit.artifact.load(tmp_path / "model")
    inputs = for_keras(data.test_inputs[:5])
    np.testing.assert_array_equal(loaded.model(inputs).numpy(), trained.model(inputs).numpy())
    assert (loaded.task, loaded.classes) == (data.task, data.classes)
    # Nothing in it that only this package could read.
    with zipfile.ZipFile(tmp_path / "model" / "model.keras") as archive:
        config = json.loads(archive.read("config.json"))
    assert "runner" not in json.dumps(config)


def test_half_precision_computes_in_bf16_and_keeps_weights_and_logits_in_full(
    kit: ModuleType,
) -> None:
    model = built(kit, "mlp", precision="bf16-mixed")
    dense = model.layers[1]
    assert (dense.compute_dtype, dense.variable_dtype) == ("bfloat16", "float32")
    assert model(np.zeros((1, 8, 8, 1), np.float32)).dtype == "float32"
    assert built(kit, "mlp").layers[1].compute_dtype == "float32"
    about = {"name": "mlp", "args": {"hidden": [16]}, "total_steps": 20}
    half = kit.train(kit.digits(), precision="bf16-mixed", **about)
    full = kit.train(kit.digits(), **about)
    assert 0 < abs(half.losses - full.losses).max() < 0.02


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("gpt", {}, "the model gpt takes text"),
        ("vit", {"patch": 3}, "can't be cut into patches of 3x3"),
        ("convnet", {"channels": [4] * 8, "pool_every": 1}, "8 poolings leave nothing"),
        ("mlp", {"hiden": [4]}, "has no argument 'hiden'"),
        ("mlp", {"num_classes": 4}, "num_classes is given by the data"),
        ("resnet", {}, "there is no model 'resnet'"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(
    kit: ModuleType, name: str, args: dict[str, Any], message: str
) -> None:
    with pytest.raises(TaskError) as caught:
        kit.models.build(kit.models.ModelSpec(name=name, args=args), kit.digits())
    assert message in caught.value.message


def test_the_models_are_those_whose_arguments_are_known() -> None:
    from typing import get_args

    from runner.kinds.keras_training import KerasModelParams

    names = get_args(get_args(KerasModelParams.model_fields["name"].annotation)[0])
    assert set(names) == set(MODELS)
    assert set(names) <= set(MODEL_ARGUMENTS)


def test_a_function_of_the_users_gets_what_it_asks_for_and_must_give_logits(
    kit: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_keras_model.py").write_text(
        "import keras\n"
        "def right(input_shape, num_classes, width):\n"
        "    assert input_shape == (8, 8, 1)\n"
        "    return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(),\n"
        "        keras.layers.Dense(width), keras.layers.Dense(num_classes)])\n"
        "def short():\n"
        "    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])\n"
        "def none():\n"
        "    return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, **args: Any) -> Any:
        spec = kit.models.ModelSpec(factory=f"own_keras_model:{name}", args=args)
        return kit.models.build(spec, kit.digits())

    assert kit.figures.count_parameters(make("right", width=4)) == 64 * 4 + 4 + 4 * 10 + 10
    with pytest.raises(TaskError, match="logits must have shape"):
        make("short")
    with pytest.raises(TaskError, match=r"returned a int, not a keras\.Model"):
        make("none")
