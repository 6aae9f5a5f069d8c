"""What ExecuTorch runs of a model in integers: numbers, sizes, and layers left in float."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from runner.data import load
from runner.data.models import ModelSpec
from runner.data.origin import Origin
from runner.errors import TaskError
from runner.torchlib.artifact import LoadedModel
from runner.torchlib.data import from_arrays
from runner.torchlib.exporting import exported
from runner.torchlib.models import build
from runner.torchlib.xnnpack import Quantizable

pytestmark = [
    pytest.mark.skipif(
        find_spec("executorch") is None,
        reason="needs executorch: pip install 'runner[executorch]'",
    ),
    # Of its own modules, as they are imported.
    pytest.mark.filterwarnings("default"),
]

# Most of its weights are those of the second convolution, which batch norm and ReLU follow.
ARGS = {"channels": [16, 64], "hidden": 16, "pool_every": 1, "dropout": 0.0}
WIDE = 64


def described(model: nn.Module, *input_shape: int) -> LoadedModel:
    return LoadedModel(
        model=model.eval(),
        spec=ModelSpec(factory="mine:net", args={}),
        task="classification",
        input_shape=input_shape,
        input_dtype="float32",
        classes=tuple("0123456789"),
        preprocessing={},
        trained_on=Origin(samples="", train="", test="", train_samples=0, test_samples=0),
    )


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    """A convnet that knows the digits a little."""
    data = from_arrays(load(name="digits"))
    torch.manual_seed(0)
    made = build(name="convnet", args=ARGS, input_shape=data.input_shape, num_classes=10)
    optimizer = torch.optim.Adam(made.parameters(), lr=5e-3)
    for _ in range(40):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(made(data.train_inputs), data.train_targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return described(made, *data.input_shape)


@pytest.fixture(scope="module")
def source(loaded: LoadedModel) -> Quantizable:
    return Quantizable(loaded)


@pytest.fixture(scope="module")
def samples() -> Any:
    return load(name="digits").train_inputs[:64]


@pytest.fixture(scope="module")
def in_floats(loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> int:
    """How large the file is that holds floats."""
    from runner.torchlib.to_executorch import write_executorch

    path = tmp_path_factory.mktemp("floats") / "model.pte"
    write_executorch(exported(loaded, batch_size=1), path, what="net")
    return path.stat().st_size


def answers(path: Path, loaded: LoadedModel, inputs: Any) -> Any:
    from runner.torchlib.runtimes.executorch import open_model

    opened = open_model(path, loaded, threads=1, device="cpu")
    return np.concatenate([opened.call(opened.ready(each[None])) for each in inputs])


def in_numpy(
    linear: nn.Linear, inputs: Any, *, most: float, least: int, group: int | None = None
) -> Any:
    """The layer with weights and each sample rounded, computed in float64.

    Krishnamoorthi 2018, "Quantizing deep convolutional networks for efficient inference", sections
    2.1 (affine, for activations) and 2.2 (symmetric, for weights by channel).
    """
    weight = linear.weight.detach().double().numpy().reshape(linear.out_features, -1, group or WIDE)
    scale = np.abs(weight).max(axis=2, keepdims=True) / most
    weight = np.rint(weight / scale).clip(least, np.floor(most)) * scale
    weight = weight.reshape(linear.out_features, WIDE)
    low = np.minimum(inputs.min(axis=1, keepdims=True), 0.0).astype(float)
    high = np.maximum(inputs.max(axis=1, keepdims=True), 0.0).astype(float)
    step = (high - low) / 255
    zero = np.rint(-low / step)
    rounded = (np.rint(inputs / step + zero).clip(0, 255) - zero) * step
    assert linear.bias is not None
    return rounded @ weight.T + linear.bias.detach().double().numpy()


@pytest.mark.parametrize(
    ("scheme", "most", "least", "group"),
    [
        ("int8-dynamic", 127.0, -127, None),
        ("int4-weight", 7.5, -8, None),
        ("int4-weight", 7.5, -8, 32),
    ],
)
def test_a_layer_computes_in_so_many_bits(
    scheme: str, most: float, least: int, group: int | None, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(WIDE, 10)
    with torch.no_grad():  # at the end of the range, and above it, where no rounding is in doubt
        linear.weight[:, 0], linear.weight[:, 32] = 0.2, 0.15
    one = described(nn.Sequential(linear), WIDE)
    inputs = np.random.default_rng(0).standard_normal((32, WIDE)).astype(np.float32)
    path = tmp_path / "model.pte"
    granularity = "group" if group else "channel"
    Quantizable(one).write(
        path, inputs, scheme=scheme, granularity=granularity, group_size=group or 128
    )
    found = answers(path, one, inputs)
    expected = in_numpy(linear, inputs, most=most, least=least, group=group)
    # XNNPACK keeps the scales of groups in bfloat16.
    np.testing.assert_allclose(found, expected, atol=2e-2 if group else 1e-5)
    with torch.no_grad():
        assert np.abs(found - linear(torch.from_numpy(inputs)).numpy()).max() > 1e-3


@pytest.mark.parametrize(
    ("scheme", "granularity", "ratio"),
    [
        ("int8-static", "channel", 0.5),
        ("int8-static", "tensor", 0.45),
        ("int8-dynamic", "channel", 0.45),
        ("int4-weight", "channel", 0.42),
    ],
)
def test_a_file_is_much_smaller_and_gives_much_the_same_answers(
    scheme: str,
    granularity: str,
    ratio: float,
    loaded: LoadedModel,
    source: Quantizable,
    samples: Any,
    in_floats: int,
    tmp_path: Path,
) -> None:
    path = tmp_path / "model.pte"
    source.write(path, samples, scheme=scheme, granularity=granularity)
    held_out = load(name="digits").test_inputs
    found = answers(path, loaded, held_out)
    with torch.no_grad():
        expected = loaded.model(torch.from_numpy(held_out)).numpy()
    assert (found.argmax(1) == expected.argmax(1)).mean() >= 0.97
    assert np.abs(found - expected).max() > 0.0
    assert path.stat().st_size < ratio * in_floats


def test_what_was_written_before_does_not_change_what_is_written(
    source: Quantizable, samples: Any, tmp_path: Path
) -> None:
    first, second = tmp_path / "first.pte", tmp_path / "second.pte"
    source.write(first, samples, scheme="int8-static")
    source.write(tmp_path / "other.pte", samples, scheme="int4-weight")
    source.write(second, samples, scheme="int8-static")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("scheme", ["int8-static", "int8-dynamic"])
def test_a_layer_that_is_to_stay_in_float_does(
    scheme: str, loaded: LoadedModel, source: Quantizable, samples: Any, tmp_path: Path
) -> None:
    names = source.layers(scheme)
    sizes = {name: loaded.model.get_submodule(name).weight.numel() for name in names}  # type: ignore[operator, union-attr]
    largest = max(sizes, key=lambda name: sizes[name])
    assert isinstance(loaded.model.get_submodule(largest), nn.Conv2d)
    whole, partly = tmp_path / "whole.pte", tmp_path / "partly.pte"
    source.write(whole, samples, scheme=scheme)
    source.write(partly, samples, scheme=scheme, floats=[largest])
    grown = partly.stat().st_size - whole.stat().st_size
    assert grown == pytest.approx(3 * sizes[largest], rel=0.2)
    with pytest.raises(
        TaskError, match=f"nothing of the model mine:net can be made {scheme}"
    ) as told:
        source.write(tmp_path / "none.pte", samples, scheme=scheme, floats=names)
    assert "another runtime or scheme" in told.value.hint


class Mixed(nn.Module):
    """What ExecuTorch's quantizer and XNNPACK have rules of their own for."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 8, 3, padding="same", groups=2)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.head = nn.Linear(4, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        kept = nn.functional.relu6(self.first(images))
        kept = self.depthwise(kept).relu()
        kept = kept + self.grouped(kept).relu()
        logits: torch.Tensor = self.head(self.up(kept).mean((2, 3)))
        return logits


def test_the_layers_that_a_scheme_takes_go_by_the_models_names(tmp_path: Path) -> None:
    torch.manual_seed(0)
    mixed = described(Mixed(), 3, 8, 8)
    source = Quantizable(mixed)
    # The sum of the model's own is in no module of it.
    every = ["first", "depthwise", "grouped", "", "up", "head"]
    assert source.layers("int8-static") == every
    assert source.layers("int8-dynamic") == ["first", "grouped", "up", "head"]
    inputs = np.random.default_rng(0).standard_normal((16, 3, 8, 8)).astype(np.float32)
    for scheme in ("int8-static", "int8-dynamic", "int4-weight"):
        source.write(tmp_path / "model.pte", inputs, scheme=scheme)
        found = answers(tmp_path / "model.pte", mixed, inputs)
        with torch.no_grad():
            expected = mixed.model(torch.from_numpy(inputs)).numpy()
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99


def test_four_bits_are_for_linear_layers_and_a_model_without_is_refused(tmp_path: Path) -> None:
    convolving = described(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), 3, 4, 4)
    inputs = np.zeros((2, 3, 4, 4), dtype=np.float32)
    with pytest.raises(TaskError, match=r"mine:net has no linear layers, and XNNPACK .* 4 bit"):
        Quantizable(convolving).write(tmp_path / "model.pte", inputs, scheme="int4-weight")


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (48, "groups of 32 or a multiple, and 48 is asked for"),
        (96, r"groups of 96 weights do not divide the inputs of 0 \(64\)"),
    ],
)
def test_groups_that_can_not_be_had_are_refused(group: int, words: str, tmp_path: Path) -> None:
    source = Quantizable(described(nn.Sequential(nn.Linear(WIDE, 10)), WIDE))
    inputs = np.zeros((2, WIDE), dtype=np.float32)
    with pytest.raises(TaskError, match=words):
        source.write(
            tmp_path / "model.pte",
            inputs,
            scheme="int4-weight",
            granularity="group",
            group_size=group,
        )


class Exotic(nn.Module):
    """A layer that can be quantized, and an operator that ExecuTorch has no kernel for."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDE, 10)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(self.layer(rows))


def test_what_a_kernel_refuses_once_it_is_called_is_told(tmp_path: Path) -> None:
    # Its kernels take no volumes, which nothing of it says before.
    volumes = described(
        nn.Sequential(nn.Conv3d(1, 2, 3), nn.Flatten(), nn.Linear(16, 4)), 1, 4, 4, 4
    )
    inputs = np.zeros((1, 1, 4, 4, 4), dtype=np.float32)
    Quantizable(volumes).write(tmp_path / "model.pte", inputs, scheme="int8-dynamic")
    with pytest.raises(TaskError, match=r"ExecuTorch can't run .*model\.pte: RuntimeError"):
        answers(tmp_path / "model.pte", volumes, inputs)


def test_what_can_not_be_written_is_told_with_its_line_and_what_else_to_try(tmp_path: Path) -> None:
    source = Quantizable(described(Exotic(), WIDE))
    inputs = np.zeros((2, WIDE), dtype=np.float32)
    with pytest.raises(TaskError, match="can't be written for ExecuTorch, because of") as told:
        source.write(tmp_path / "model.pte", inputs, scheme="int8-dynamic")
    assert "test_xnnpack.py:" in told.value.message
    assert "leave the layer out by 'ignore'" in told.value.hint
