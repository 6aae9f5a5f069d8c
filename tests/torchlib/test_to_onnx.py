"""A model of PyTorch as an ONNX file: the same numbers, names that mean something, no secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from runner.data.models import ModelSpec
from runner.data.origin import Origin
from runner.errors import TaskError
from runner.torchlib.artifact import LoadedModel
from runner.torchlib.models import build
from runner.torchlib.to_onnx import OPSET, write_onnx

MODELS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "convnet": ({"channels": [4, 8], "hidden": 8, "pool_every": 2, "dropout": 0.1}, (1, 8, 8)),
    "vit": ({"dim": 16, "depth": 1, "heads": 2, "patch": 4, "dropout": 0.0}, (1, 8, 8)),
    "gpt": (
        {"dim": 16, "depth": 1, "heads": 2, "dropout": 0.0, "tied": True, "block_size": 8},
        (8,),
    ),
}


def loaded(model: nn.Module, shape: tuple[int, ...], dtype: str = "float32") -> LoadedModel:
    return LoadedModel(
        model=model.eval(),
        spec=ModelSpec(factory="mine:net", args={}),
        task="classification",
        input_shape=shape,
        input_dtype=dtype,
        classes=("a", "b"),
        preprocessing={},
        trained_on=Origin(samples="", train="", test="", train_samples=0, test_samples=0),
    )


def run(path: Path, inputs: Any) -> Any:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["outputs"], {"inputs": inputs})[0]


@pytest.mark.parametrize("name", MODELS)
def test_the_file_gives_what_the_model_gives_for_any_number_of_rows(
    name: str, tmp_path: Path
) -> None:
    args, shape = MODELS[name]
    is_text = name == "gpt"
    model = build(name=name, args=args, input_shape=shape, num_classes=256 if is_text else 10)
    path = tmp_path / "model.onnx"
    write_onnx(loaded(model, shape, "uint8" if is_text else "float32"), path)
    random = np.random.default_rng(0)
    for rows in (1, 5):
        inputs = (
            random.integers(0, 256, (rows, *shape))
            if is_text
            else random.standard_normal((rows, *shape)).astype(np.float32)
        )
        with torch.no_grad():
            expected = model(torch.from_numpy(inputs)).numpy()
        np.testing.assert_allclose(run(path, inputs), expected, rtol=1e-3, atol=1e-5)
    written = onnx.load(str(path))
    assert [each.version for each in written.opset_import if not each.domain] == [OPSET]
    assert str(Path(__file__).parents[1]).encode() not in path.read_bytes()
    names = [node.name for node in written.graph.node]
    assert len(set(names)) == len(names)
    wanted = {"convnet": "3/Conv", "vit": "blocks.0.up/MatMul", "gpt": "blocks.0.up/MatMul"}
    assert wanted[name] in names


def test_a_fixed_batch_is_the_only_one_that_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_onnx(loaded(nn.Linear(4, 2), (4,)), path, batch_size=2)
    assert run(path, np.zeros((2, 4), np.float32)).shape == (2, 2)
    with pytest.raises(Exception, match="Got: 3 Expected: 2"):
        run(path, np.zeros((3, 4), np.float32))


class Bessel(nn.Module):
    """Calls what ONNX has no operator for."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


def test_an_operator_that_onnx_lacks_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"can't be written as ONNX.*test_to_onnx\.py:\d+") as error:
        write_onnx(loaded(Bessel(), (4,)), tmp_path / "model.onnx")
    assert "bessel_j0" in error.value.message
    assert list(tmp_path.iterdir()) == []
