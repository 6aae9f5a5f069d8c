"""Models on disk: what is read is what was written, and a broken folder is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from training import make_model, train

from runner.data.described import size_bytes
from runner.data.models import ModelSpec
from runner.errors import TaskError
from runner.torchlib import data
from runner.torchlib.artifact import load, save
from runner.torchlib.data import Dataset

ARGS = {
    "mlp": {"hidden": [8]},
    "convnet": {"channels": [4, 8], "hidden": 16},
    "resnet": {"depth": 8, "width": 4},
    "vit": {"dim": 16, "depth": 1, "heads": 2},
    "gpt": {"dim": 16, "depth": 1, "heads": 2},
}


def saved(folder: Path, dataset: Dataset, name: str = "mlp") -> nn.Module:
    """A model after two steps (so that batch norms have statistics), written to ``folder``."""
    model = make_model(dataset, name, **ARGS[name])
    train(model, dataset, max_steps=2)
    save(folder, model, spec=ModelSpec(name=name, args=ARGS[name]), dataset=dataset)
    return model.eval()


@pytest.mark.parametrize("name", ARGS)
def test_round_trip(tmp_path: Path, digits: Dataset, text: Dataset, name: str) -> None:
    dataset = text if name == "gpt" else digits
    model = saved(tmp_path / "model", dataset, name)
    loaded = load(tmp_path / "model")
    assert not loaded.model.training
    for (key, ours), (other, theirs) in zip(
        model.state_dict().items(), loaded.model.state_dict().items(), strict=True
    ):
        assert key == other and torch.equal(ours, theirs)
    inputs = dataset.test_inputs[:5]
    with torch.no_grad():
        assert torch.allclose(model(inputs), loaded.model(inputs), atol=1e-5)
    assert loaded.spec == ModelSpec(name=name, args=ARGS[name])
    assert loaded.classes == dataset.classes and loaded.input_shape == dataset.input_shape
    assert loaded.task == dataset.task and loaded.preprocessing == dataset.preprocessing


def test_folder_can_be_read_without_this_package(tmp_path: Path, digits: Dataset) -> None:
    model = saved(tmp_path / "model", digits)
    described = json.loads((tmp_path / "model/model.json").read_text())
    assert described["schema"] == 1
    assert described["model"] == {"name": "mlp", "factory": None, "args": {"hidden": [8]}}
    assert described["input"] == {"shape": [1, 8, 8], "dtype": "float32"}
    assert described["classes"] == list("0123456789")
    assert described["task"] == "classification"
    weights = load_file(tmp_path / "model/model.safetensors")
    assert set(weights) == set(model.state_dict())
    # As a stranger would use it: raw pixels, the stated mean and deviation, matrices.
    raw = torch.full((1, 64), 4.0)
    x = (raw - described["preprocessing"]["mean"][0]) / described["preprocessing"]["std"][0]
    hidden = (x @ weights["1.weight"].T + weights["1.bias"]).relu()
    logits = hidden @ weights["3.weight"].T + weights["3.bias"]
    assert torch.allclose(logits, model(x.view(1, 1, 8, 8)), atol=1e-5)


def test_tied_weights_are_kept_once_and_tied_again(tmp_path: Path, text: Dataset) -> None:
    saved(tmp_path / "model", text, "gpt")
    stored = load_file(tmp_path / "model/model.safetensors")
    assert sum("bytes" in name or "head" in name for name in stored) == 1
    loaded = load(tmp_path / "model").model
    assert loaded.head.weight is loaded.embed.bytes.weight


def test_a_factorys_model(tmp_path: Path, digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_net.py").write_text(
        "from torch import nn\n"
        "def make(width): return nn.Sequential(nn.Flatten(), nn.Linear(64, width))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    spec = ModelSpec(factory="own_net:make", args={"width": 10})
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    save(tmp_path / "model", model, spec=spec, dataset=digits)
    loaded = load(tmp_path / "model")
    assert loaded.spec == spec and torch.equal(loaded.model[1].weight, model[1].weight)


def test_size_and_nothing_left_over(tmp_path: Path, digits: Dataset) -> None:
    saved(tmp_path / "model", digits)
    saved(tmp_path / "model", digits)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    files = list((tmp_path / "model").iterdir())
    assert sorted(file.name for file in files) == ["model.json", "model.safetensors"]
    assert size_bytes(tmp_path / "model") == sum(len(file.read_bytes()) for file in files)


def test_a_failed_save_leaves_what_was_there(tmp_path: Path, digits: Dataset) -> None:
    saved(tmp_path / "model", digits)
    before = size_bytes(tmp_path / "model")
    spec = ModelSpec(name="mlp", args={"hidden": object()})
    with pytest.raises(TypeError):
        save(tmp_path / "model", make_model(digits), spec=spec, dataset=digits)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert size_bytes(tmp_path / "model") == before


def test_missing_files(tmp_path: Path, digits: Dataset) -> None:
    with pytest.raises(TaskError, match=r"there is no .*nowhere/model\.json"):
        load(tmp_path / "nowhere")
    saved(tmp_path / "model", digits)
    (tmp_path / "model/model.safetensors").unlink()
    with pytest.raises(TaskError, match=r"there is no .*model\.safetensors"):
        load(tmp_path / "model")


@pytest.mark.parametrize("keep", [0, 5, 100, -7])
def test_weights_cut_short(tmp_path: Path, digits: Dataset, keep: int) -> None:
    saved(tmp_path / "model", digits)
    file = tmp_path / "model/model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(TaskError, match=r"model\.safetensors can't be read"):
        load(tmp_path / "model")


def test_weights_of_another_model(tmp_path: Path, digits: Dataset) -> None:
    saved(tmp_path / "one", digits)
    saved(tmp_path / "two", digits, "convnet")
    (tmp_path / "two/model.safetensors").replace(tmp_path / "one/model.safetensors")
    with pytest.raises(TaskError, match=r"does not hold the weights of the model mlp"):
        load(tmp_path / "one")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"name": "mlp", "factory": None, "args": {"hidden": [9]}}}, "size mismatch"),
        ({"schema": 2}, r"has schema 2, this version reads schema 1"),
        ({"model": {"nom": "mlp"}}, "does not describe a model"),
        ({"model": None}, "does not describe a model"),
        ({"classes": 3}, "does not describe a model"),
        ({"model": {"name": "mlq", "args": {}}}, "there is no model 'mlq'"),
    ],
)
def test_description_that_was_changed(
    tmp_path: Path, digits: Dataset, change: dict[str, object], message: str
) -> None:
    saved(tmp_path / "model", digits)
    file = tmp_path / "model/model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(TaskError, match=message):
        load(tmp_path / "model")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_description_that_is_none(tmp_path: Path, digits: Dataset, content: bytes) -> None:
    saved(tmp_path / "model", digits)
    (tmp_path / "model/model.json").write_bytes(content)
    with pytest.raises(TaskError, match=r"model\.json"):
        load(tmp_path / "model")


def test_other_data_than_the_models(tmp_path: Path, digits: Dataset, text: Dataset) -> None:
    from runner.torchlib.artifact import check_data

    saved(tmp_path / "model", digits)
    loaded = load(tmp_path / "model")
    check_data(loaded, digits)
    with pytest.raises(TaskError, match="with task classification, this data has task language"):
        check_data(loaded, text)
    with pytest.raises(TaskError, match=r"input shape \(1, 8, 8\), this data .* \(1, 28, 28\)"):
        check_data(loaded, data.load(name="mnist5k"))
