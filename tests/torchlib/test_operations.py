"""Counted operations beside closed forms, published peaks, and what a training makes of both."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from training import make_model, series, train

from runner.errors import Unmeasured
from runner.torchlib.data import Dataset
from runner.torchlib.operations import operations_per_sample
from runner.torchlib.peaks import peak_of


def test_an_mlp(digits: Dataset) -> None:
    """Forward, gradient of the weights, gradient of the inputs (but those of the first layer)."""
    model = make_model(digits, hidden=[32, 16])
    assert operations_per_sample(model, digits) == 2 * (64 * 32 * 2 + (32 * 16 + 16 * 10) * 3)


def test_a_convolution(digits: Dataset) -> None:
    model = make_model(digits, "convnet", channels=[4, 6], hidden=0, pool_every=2)
    first, second, last = (8 * 8 * 4 * 9 * 1, 8 * 8 * 6 * 9 * 4, 6 * 4 * 4 * 10)
    assert operations_per_sample(model, digits) == 2 * (first * 2 + (second + last) * 3)


def test_a_transformer(text: Dataset) -> None:
    """6 N a token for its matrices, and 12 L T d for attention (Chowdhery et al. 2022)."""
    dim, depth, length = 48, 3, 32
    model = make_model(text, "gpt", dim=dim, depth=depth, heads=4)
    matrices = depth * 12 * dim * dim + dim * 256
    expected = length * (6 * matrices + 12 * depth * length * dim)
    assert operations_per_sample(model, text) == expected


def test_counting_leaves_the_model_alone(digits: Dataset) -> None:
    model = make_model(digits, "convnet", channels=[4], hidden=0, dropout=0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    assert operations_per_sample(model, digits)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_a_model_that_looks_at_values(digits: Dataset) -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(64, 10)

        def forward(self, inputs: Tensor) -> Tensor:
            out: Tensor = self.linear(inputs.flatten(1))
            return out * 2 if out.sum().item() > 0 else out

    with pytest.raises(Unmeasured, match="Gated can't be counted on shapes alone"):
        operations_per_sample(Gated(), digits)


@pytest.mark.parametrize(
    ("name", "half", "fp32"),
    [
        ("NVIDIA H100 80GB HBM3", 989.0, 494.7),
        ("NVIDIA H200", 989.0, 494.7),
        ("NVIDIA H100 PCIe", 756.0, 378.0),
        ("NVIDIA A100-SXM4-40GB", 312.0, 156.0),
        ("A100-PCIE-40GB", 312.0, 156.0),
        ("NVIDIA A100 80GB PCIe", 312.0, 156.0),
        ("NVIDIA L4", 121.0, 60.0),
        ("Tesla T4", 65.0, 8.1),
        ("Tesla V100-SXM2-16GB", 125.0, 15.7),
        ("NVIDIA B200", 2250.0, 1125.0),
    ],
)
def test_published_peaks(name: str, half: float, fp32: float) -> None:
    for precision in ("bf16-mixed", "fp16-mixed", "bf16-true"):
        assert peak_of(name, precision) == half * 1e12  # type: ignore[arg-type]
    assert peak_of(name, "fp32") == fp32 * 1e12


@pytest.mark.parametrize(
    "name",
    [
        "",
        "NVIDIA H100",
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "NVIDIA L40",
        "NVIDIA GeForce RTX 4090",
    ],
)
def test_devices_whose_peak_is_not_known(name: str) -> None:
    assert peak_of(name, "bf16-mixed") is None


def test_utilisation_is_the_rate_over_the_peak(digits: Dataset) -> None:
    events = train(make_model(digits, hidden=[8]), digits, samples_per_s_at_peak=1e6)
    ((_, rate),) = series(events, "train/samples_per_s")
    assert series(events, "train/mfu") == [(None, rate / 1e6)]


def test_no_utilisation_where_no_peak_is_known(digits: Dataset) -> None:
    assert series(train(make_model(digits, hidden=[8]), digits), "train/mfu") == []
