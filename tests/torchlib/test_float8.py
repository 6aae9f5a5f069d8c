"""Training in fp8, with torchao's emulation of it: which layers, what it learns, what is kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training import make_model, series, train

from runner.data import extras
from runner.data.models import ModelSpec
from runner.errors import TaskError
from runner.torchlib.artifact import load, save
from runner.torchlib.data import Dataset
from runner.torchlib.float8 import convert, has_float8
from runner.torchlib.measure import evaluate
from runner.torchlib.peaks import peak_of
from runner.torchlib.precision import resolve

VIT: dict[str, Any] = {"dim": 32, "depth": 2, "heads": 2, "patch": 4}
GPT: dict[str, Any] = {"dim": 32, "depth": 2, "heads": 2}
OF_A_BLOCK = ("attention.qkv", "attention.out", "up", "down")
OF_BLOCKS = {f"blocks.{block}.{name}" for block in (0, 1) for name in OF_A_BLOCK}


def converted(model: nn.Module) -> set[str]:
    return {name for name, each in model.named_modules() if type(each).__name__ == "Float8Linear"}


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("vit", VIT, OF_BLOCKS),
        ("gpt", GPT, OF_BLOCKS),
        # Of widths 64, 48, 40 and 32 to 10, with two layers that 16 does not divide.
        ("mlp", {"hidden": [48, 40, 32]}, {"1"}),
    ],
)
def test_wide_layers_are_converted_and_the_last_is_not(
    digits: Dataset, text: Dataset, name: str, args: dict[str, Any], expected: set[str]
) -> None:
    data = text if name == "gpt" else digits
    plain, model = (make_model(data, name, **args) for _ in range(2))
    said = convert(model, emulate=True)
    assert converted(model) == expected
    linear = sum(isinstance(each, nn.Linear) for each in plain.modules())
    assert said == f"{len(expected)} of {linear} linear layers multiply in fp8, the rest in bf16"
    state = model.state_dict()
    assert state.keys() == plain.state_dict().keys()
    assert all(torch.equal(value, state[key]) for key, value in plain.state_dict().items())
    assert {type(p) for p in model.parameters()} == {nn.Parameter}


def test_of_layers_that_are_divided_each_part_is_wide_enough(digits: Dataset) -> None:
    whole, halves = (make_model(digits, hidden=[48, 64, 32]) for _ in range(2))
    convert(whole, emulate=True)
    convert(halves, parts=2, emulate=True)
    assert converted(whole) == {"1", "3", "5"}
    assert converted(halves) == {"5"}  # 64 to 32


@pytest.mark.parametrize(("name", "args"), [("vit", VIT), ("gpt", GPT)])
def test_it_learns_and_what_is_kept_needs_no_torchao(
    digits: Dataset, text: Dataset, tmp_path: Path, name: str, args: dict[str, Any]
) -> None:
    data = text if name == "gpt" else digits
    plain, model = (make_model(data, name, **args) for _ in range(2))
    convert(model, emulate=True)
    theirs = train(plain, data, epochs=2, precision="bf16-mixed")
    ours = train(model, data, epochs=2, precision="fp8")
    losses, expected = ([v for _, v in series(e, "train/loss")] for e in (ours, theirs))
    assert losses != expected
    assert losses[-1] < 0.9 * losses[0]
    assert losses[-1] == pytest.approx(expected[-1], abs=0.1)
    save(tmp_path / "model", model, spec=ModelSpec(name=name, args=args), dataset=data)
    reloaded = load(tmp_path / "model").model
    assert not converted(reloaded)
    assert {value.dtype for value in reloaded.state_dict().values()} == {torch.float32}
    ((_, loss),) = series(ours, "test/loss")[-1:]
    assert evaluate(reloaded, data, device="cpu").loss == pytest.approx(loss, abs=0.05)
    code = (
        "import sys; sys.modules['torchao'] = None\n"
        "from pathlib import Path\n"
        "from runner.torchlib.artifact import load\n"
        f"load(Path({str(tmp_path / 'model')!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_resumed_training_ends_with_the_same_bits(digits: Dataset, tmp_path: Path) -> None:
    def model() -> nn.Module:
        made = make_model(digits, "vit", **VIT, dropout=0.1)
        convert(made, emulate=True)
        return made

    settings: dict[str, Any] = {"max_steps": 12, "precision": "fp8", "batch": 200}
    whole, stopped, resumed = model(), model(), model()
    train(whole, digits, **settings)
    train(stopped, digits, **settings, checkpoints=tmp_path, stop_after=8)
    events = train(resumed, digits, **settings, checkpoints=tmp_path)
    assert series(events, "checkpoint/resumed_at_step")[0][1] in (3, 6)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_a_model_without_wide_layers(digits: Dataset) -> None:
    with pytest.raises(TaskError, match="no linear layer, before its last, whose widths"):
        convert(make_model(digits, "convnet", channels=[4], hidden=0))


def test_without_torchao(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(TaskError, match="precision: fp8 needs the package torchao") as raised:
        convert(make_model(digits, "vit", **VIT))
    assert raised.value.hint == "pip install 'runner[fp8]'"


def test_a_cpu_has_none() -> None:
    with pytest.raises(TaskError, match="a CPU has no fp8"):
        resolve("fp8", "cpu")


@pytest.mark.parametrize(
    ("capability", "expected"), [((8, 0), False), ((8, 6), False), ((8, 9), True), ((9, 0), True)]
)
def test_a_gpu_has_it_from_a_capability_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    assert has_float8("cuda:0") == expected
    if expected:
        assert resolve("fp8", "cuda:0") == "fp8"
    else:
        with pytest.raises(TaskError, match="a GPU has no fp8"):
            resolve("fp8", "cuda:0")


@pytest.mark.parametrize(
    ("name", "peak"),
    [("NVIDIA H100 80GB HBM3", 1979e12), ("NVIDIA L40S", 733e12), ("NVIDIA A100 80GB PCIe", None)],
)
def test_published_peaks(name: str, peak: float | None) -> None:
    assert peak_of(name, "fp8") == peak
