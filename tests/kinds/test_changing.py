"""What a task tells of what was made of its model: fp8, CUDA graphs, why there is no MFU."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from runner.kinds import Yield
from runner.kinds.changing import Changed, change
from runner.kinds.training import TrainingParams
from runner.model import Context, Fact
from runner.torchlib import compilation, data, float8
from runner.torchlib.models import build

PARAMS = {"data": {"name": "digits"}, "model": {"name": "mlp"}, "max_epochs": 1}


def told(
    *, device: str = "cuda", model: nn.Module | None = None, **params: Any
) -> tuple[dict[str, str], Changed]:
    """The facts by name, and what came of the changes."""
    digits = data.load(name="digits")
    context = Context(
        params=None, folder=Path(), device=device, world_size=params.pop("world_size", 1)
    )
    given = TrainingParams.model_validate({**PARAMS, "precision": "fp32", **params})
    made = model or build(name="mlp", args={"hidden": [32, 16]}, input_shape=(1, 8, 8),
                          num_classes=10)  # fmt: skip
    facts: dict[str, str] = {}
    steps: Generator[Yield, None, Changed] = change(context, given, made, digits)
    while True:
        try:
            item = next(steps)
        except StopIteration as end:
            return facts, end.value
        assert isinstance(item, Fact)
        facts[item.name] = item.text


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much of an H100 as is asked for before a model is put on it."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(compilation, "check_compiler", lambda device: None)


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.linear(inputs.flatten(1))
        return out * 2 if out.sum().item() > 0 else out


def test_the_peak_of_a_known_gpu(gpu: None) -> None:
    facts, changed = told()
    assert facts == {}
    operations = 2 * (64 * 32 * 2 + (32 * 16 + 16 * 10) * 3)
    assert changed.samples_per_s_at_peak == pytest.approx(494.7e12 / operations)


def test_why_there_is_no_utilisation(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    facts, changed = told(model=Gated())
    assert changed.samples_per_s_at_peak is None
    assert facts["mfu"].startswith("not measured: the operations of Gated can't be counted on")
    assert "Error" in facts["mfu"] and "\n" not in facts["mfu"]
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GeForce")
    facts, _ = told()
    assert facts == {"mfu": "not measured: the peak of GeForce in fp32 is not known"}


def test_nothing_is_said_of_a_cpu() -> None:
    assert told(device="cpu") == ({}, Changed())


def test_whether_there_are_cuda_graphs_is_told(gpu: None) -> None:
    facts, changed = told(compile=True)
    assert facts["CUDA graphs"].startswith("used: ") and changed.has_graphs
    facts, changed = told(compile=True, per_device_batch_size="auto")
    assert facts["CUDA graphs"].startswith("not used: per_device") and not changed.has_graphs
    facts, changed = told(compile=True, model=Gated())
    assert "is not known" in facts["CUDA graphs"] and not changed.has_graphs
    facts, changed = told(compile=True, world_size=2)
    assert "2 workers" in facts["CUDA graphs"] and not changed.has_graphs


def test_fp8_is_told_and_that_it_pays_compiled_only(
    gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    facts, changed = told(precision="fp8")
    assert facts["fp8"] == (
        "2 of 3 linear layers multiply in fp8, the rest in bf16; without compile: true this is "
        "slower than bf16-mixed"
    )
    operations = 2 * (64 * 32 * 2 + (32 * 16 + 16 * 10) * 3)
    assert changed.samples_per_s_at_peak == pytest.approx(1979e12 / operations)
    facts, _ = told(precision="fp8", compile=True)
    assert "slower" not in facts["fp8"]
    assert float8.has_float8("cuda")


@pytest.mark.usefixtures("gpu")
def test_a_gang_whose_batch_is_given_in_full_is_compiled() -> None:
    batch = {"global_batch_size": 256, "per_device_batch_size": 32}
    facts, changed = told(world_size=4, compile=True, gradient_accumulation_steps=2, **batch)
    assert facts["CUDA graphs"].startswith("not used: 4 workers") and not changed.has_graphs


@pytest.mark.usefixtures("gpu")
def test_a_model_without_products_has_no_mfu() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(10))

        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.flatten(1)[:, :10] * self.scale

    facts, changed = told(model=Scaled())
    assert facts["mfu"] == (
        "not measured: Scaled has no matrix products, convolutions or attention to count"
    )
    assert changed.samples_per_s_at_peak is None
