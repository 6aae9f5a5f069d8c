"""Every model: sizes that are known, a step of training, and arguments that make no sense."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from runner.errors import TaskError
from runner.torchlib.measure import count_parameters
from runner.torchlib.models import MODELS, build

IMAGES = (3, 32, 32)
SMALL = {
    "mlp": ({"hidden": [8], "dropout": 0.1}, (1, 8, 8), 10),
    "convnet": ({"channels": [4, 8], "hidden": 16, "dropout": 0.1}, (1, 8, 8), 10),
    "resnet": ({"depth": 8, "width": 4}, (3, 8, 8), 10),
    "vit": ({"patch": 4, "dim": 16, "depth": 2, "heads": 2, "dropout": 0.1}, (1, 8, 8), 10),
    "gpt": ({"dim": 16, "depth": 2, "heads": 2, "dropout": 0.1}, (12,), 256),
}


def small(name: str, seed: int = 0) -> nn.Module:
    args, input_shape, classes = SMALL[name]
    return build(name=name, args=args, input_shape=input_shape, num_classes=classes, seed=seed)


def inputs_for(name: str, samples: int = 3) -> torch.Tensor:
    shape = (samples, *SMALL[name][1])
    generator = torch.Generator().manual_seed(1)
    if name == "gpt":
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return torch.randn(shape, generator=generator)


def test_every_model_is_tested_here() -> None:
    assert set(SMALL) == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_forward_and_backward_reach_every_parameter(name: str) -> None:
    model = small(name)
    logits = model(inputs_for(name))
    classes = SMALL[name][2]
    assert logits.shape == ((3, 12, classes) if name == "gpt" else (3, classes))
    logits.logsumexp(-1).sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("name", MODELS)
def test_weights_depend_on_the_seed_alone(name: str) -> None:
    torch.manual_seed(123)
    one = small(name, seed=5)
    drawn = torch.rand(1)
    torch.manual_seed(123)
    assert torch.equal(drawn, torch.rand(1)), "building a model must not move the generator"
    two, other = small(name, seed=5), small(name, seed=6)
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)]
)
def test_resnet_has_the_size_of_table_6_of_the_paper(depth: int, millions: float) -> None:
    model = build(name="resnet", args={"depth": depth}, input_shape=IMAGES, num_classes=10)
    assert count_parameters(model) / 1e6 == pytest.approx(millions, rel=0.02)


def test_convnet_sizes() -> None:
    large = build(name="convnet", args={}, input_shape=(1, 28, 28), num_classes=10)
    args = {"channels": [8, 16, 32, 32], "hidden": 64}
    tiny = build(name="convnet", args=args, input_shape=(1, 28, 28), num_classes=10)
    # Kernels, batch norms, and the two linear layers on 7x7 pixels.
    assert count_parameters(large) == (
        9 * (32 + 32 * 64 + 64 * 128 + 128 * 128)
        + 2 * (32 + 64 + 128 + 128)
        + (128 * 49 + 1) * 256
        + 257 * 10
    )
    assert count_parameters(tiny) == 116_290


def test_mlp_is_what_it_says() -> None:
    model = build(name="mlp", args={"hidden": [5, 4]}, input_shape=(2, 3), num_classes=2)
    x = torch.randn(7, 2, 3)
    w1, b1, w2, b2, w3, b3 = model.parameters()
    hidden = (x.reshape(7, 6) @ w1.T + b1).clamp(min=0)
    expected = (hidden @ w2.T + b2).clamp(min=0) @ w3.T + b3
    assert torch.allclose(model(x), expected, atol=1e-6)


def test_convnet_gives_the_same_in_both_layouts() -> None:
    model = small("convnet").eval()
    x = inputs_for("convnet")
    plain = model(x)
    model.to(memory_format=torch.channels_last)
    assert torch.allclose(model(x.contiguous(memory_format=torch.channels_last)), plain, atol=1e-5)


def test_resnet_shortcut_is_option_a() -> None:
    from runner.torchlib.models.resnet import ResidualBlock

    block = ResidualBlock(2, 4, stride=2).eval()
    nn.init.zeros_(block.norm2.weight)
    x = torch.rand(1, 2, 4, 4)
    out = block(x)
    assert torch.equal(out[:, :2], x[:, :, ::2, ::2])
    assert not out[:, 2:].any()


def test_gpt_sees_no_later_byte() -> None:
    model = small("gpt").eval()
    x = inputs_for("gpt", samples=1)
    changed = x.clone()
    changed[0, 7] = (int(x[0, 7]) + 1) % 256
    before, after = model(x), model(changed)
    assert torch.equal(before[0, :7], after[0, :7])
    assert not torch.equal(before[0, 7:], after[0, 7:])


def test_gpt_head_is_tied_unless_told_otherwise() -> None:
    make = {"name": "gpt", "input_shape": (12,), "num_classes": 256}
    tied = build(**make, args={"dim": 16})  # type: ignore[arg-type]
    untied = build(**make, args={"dim": 16, "tied": False})  # type: ignore[arg-type]
    assert count_parameters(untied) - count_parameters(tied) == 256 * 16


@pytest.mark.parametrize(
    ("name", "args", "shape", "message"),
    [
        ("mlp", {"hiden": [8]}, (64,), "no argument 'hiden'; it accepts: hidden, dropout"),
        ("mlp", {"hidden": 8}, (64,), "hidden is 8; it should be a valid list"),
        ("mlp", {"hidden": [8, 0]}, (64,), r"hidden\[1\] is 0; it should be greater than or"),
        ("mlp", {"dropout": 1.0}, (64,), "dropout is 1.0; it should be less than 1"),
        ("mlp", {"input_shape": [3]}, (64,), "input_shape is given by the data"),
        ("convnet", {}, (64,), r"images of shape \(channels, height, width\)"),
        ("convnet", {"channels": []}, (1, 8, 8), "should have at least 1 item"),
        ("convnet", {"channels": [4] * 8, "pool_every": 1}, (1, 8, 8), "8 poolings leave nothing"),
        ("resnet", {"depth": 18}, (3, 8, 8), r"depth must be 6n \+ 2"),
        ("vit", {"patch": 3}, (1, 8, 8), "can't be cut into patches of 3x3"),
        ("vit", {"dim": 10, "heads": 4}, (1, 8, 8), "dim 10 can't be divided among 4 heads"),
        ("gpt", {}, (1, 8, 8), "gpt takes sequences of bytes"),
        ("gpt", {"block_size": 4}, (12,), "block_size 4 is less than the 12 of the data"),
    ],
)
def test_arguments_that_make_no_sense(
    name: str, args: dict[str, object], shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(TaskError, match=message):
        classes = 256 if name == "gpt" else 10
        build(name=name, args=args, input_shape=shape, num_classes=classes)


def test_model_that_does_not_exist() -> None:
    with pytest.raises(TaskError, match="there is no model 'resnt'") as caught:
        build(name="resnt", input_shape=IMAGES, num_classes=10)
    assert caught.value.hint == "did you mean 'resnet'?"


def test_factory_gets_the_datas_shape_where_it_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_model.py").write_text(
        "from torch import nn\n"
        "def make(num_classes, width=4):\n"
        "    layers = nn.Linear(64, width), nn.Linear(width, num_classes)\n"
        "    return nn.Sequential(nn.Flatten(), *layers)\n"
        "def number(): return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    shape = (1, 8, 8)
    model = build(factory="own_model:make", args={"width": 9}, input_shape=shape, num_classes=5)
    assert count_parameters(model) == 65 * 9 + 10 * 5
    with pytest.raises(TaskError, match=r"returned a int, not a torch\.nn\.Module"):
        build(factory="own_model:number", input_shape=shape, num_classes=5)
    with pytest.raises(TaskError, match="a name or a factory, and not both"):
        build(name="mlp", factory="own_model:make", input_shape=shape, num_classes=5)
