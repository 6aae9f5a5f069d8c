"""Measurements: scores against a computation in NumPy, speeds that hang together."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training import make_model, train

from runner.data import timing
from runner.data.described import size_bytes
from runner.data.models import ModelSpec
from runner.errors import TaskError
from runner.torchlib import measure
from runner.torchlib.artifact import LoadedModel, save
from runner.torchlib.data import Dataset
from runner.torchlib.measure import (
    benchmark,
    count_parameters,
    evaluate,
    measure_artifact,
    peak_memory_mb,
)


def in_numpy(model: nn.Module, data: Dataset) -> tuple[float, float]:
    with torch.no_grad():
        logits = model.eval()(data.test_inputs).double().numpy()
    logits = logits.reshape(-1, logits.shape[-1])
    targets = data.test_targets.numpy().ravel()
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    loss = -log_p[np.arange(len(targets)), targets].mean()
    return float(loss), float((logits.argmax(1) == targets).mean())


@pytest.mark.parametrize("samples", [1, 255, 256, 257, 360])
def test_scores(digits: Dataset, samples: int) -> None:
    few = replace(
        digits,
        test_inputs=digits.test_inputs[:samples],
        test_targets=digits.test_targets[:samples],
    )
    model = make_model(few, hidden=[16])
    train(model, few, max_steps=15)
    score = evaluate(model, few, device="cpu")
    loss, accuracy = in_numpy(model, few)
    assert score.loss == pytest.approx(loss, rel=1e-5)
    assert score.accuracy == pytest.approx(accuracy, abs=1e-12)


def test_scores_of_text_count_bytes(text: Dataset) -> None:
    model = make_model(text, "gpt", dim=16, depth=1, heads=2)
    score = evaluate(model, text, device="cpu")
    loss, accuracy = in_numpy(model, text)
    assert score.loss == pytest.approx(loss, rel=1e-5)
    assert score.accuracy == pytest.approx(accuracy, abs=1e-12)


def test_bytes_reach_a_model_as_the_integers_that_embeddings_take(text: Dataset) -> None:
    model = nn.Sequential(nn.Embedding(256, 4), nn.Linear(4, 256))
    score = evaluate(model, text, device="cpu")
    loss, accuracy = in_numpy(model, replace(text, test_inputs=text.test_inputs.long()))
    assert score.loss == pytest.approx(loss, rel=1e-5)
    assert score.accuracy == pytest.approx(accuracy, abs=1e-12)
    benchmark(model, text.test_inputs, threads=1, device="cpu", batch_size=64)


def test_evaluation_leaves_the_model_as_it_was(digits: Dataset) -> None:
    model = make_model(digits, "convnet", channels=[4], hidden=0, dropout=0.5).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    one, two = (evaluate(model, digits, device="cpu") for _ in range(2))
    assert one == two, "dropout is off"
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


class Sleeper(nn.Module):
    """Takes a known time a call, and remembers on how many samples it was called."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.batches: list[int] = []

    def forward(self, inputs: Tensor) -> Tensor:
        assert torch.is_inference_mode_enabled() and not self.training
        self.batches.append(len(inputs))
        time.sleep(self.seconds)
        return inputs


def test_speed_of_a_known_time() -> None:
    model = Sleeper(0.002)
    speed = benchmark(model, torch.zeros(3, 2), threads=1, device="cpu", batch_size=64)
    assert 2.0 <= speed.latency_p50_ms <= speed.latency_p95_ms < 50
    assert 64 / 0.05 < speed.samples_per_s <= 64 / 0.002
    assert model.batches == [1] * 210 + [64] * 40


def test_a_slow_model_is_called_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_BUDGET_S", 0.1)
    model = Sleeper(0.02)
    benchmark(model, torch.zeros(64, 2), threads=1, device="cpu", batch_size=64)
    assert model.batches == [1] * 12 + [64] * 12


def test_threads_are_put_back() -> None:
    class Witness(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            assert torch.get_num_threads() == 2
            return inputs

    benchmark(Witness(), torch.zeros(64, 2), threads=2, device="cpu", batch_size=64)
    assert torch.get_num_threads() == 1


def test_shared_parameters_count_once() -> None:
    one = nn.Linear(3, 3, bias=False)
    assert count_parameters(nn.Sequential(one, one)) == 9


def test_peak_memory_is_that_of_the_process() -> None:
    before = peak_memory_mb("cpu")
    held = torch.ones(int(before * 1e6) // 4 + 10_000_000)
    assert peak_memory_mb("cpu") >= before + 40
    assert held.sum() > 0
    assert 50 < before < 100_000


def test_artifact_is_measured_as_it_lies_on_disk(tmp_path: Path, digits: Dataset) -> None:
    model = make_model(digits, hidden=[16])
    train(model, digits, max_steps=10)
    folder = tmp_path / "model"
    save(folder, model, spec=ModelSpec(name="mlp", args={"hidden": [16]}), dataset=digits)
    expected = evaluate(model, digits, device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    metrics = measure_artifact(folder, digits, threads=1, device="cpu")
    values = {metric.name: metric.value for metric in metrics}
    assert list(values) == [
        "data/train_samples",
        "data/test_samples",
        "test/loss",
        "test/accuracy",
        "size/model_mb",
        "size/parameters",
        "latency/p50_ms",
        "latency/p95_ms",
        "throughput/samples_per_s",
        "memory/peak_mb",
    ]
    assert values["test/loss"] == pytest.approx(expected.loss, rel=1e-6)
    assert values["test/accuracy"] == expected.accuracy
    assert (values["data/train_samples"], values["data/test_samples"]) == (1437, 360)
    assert values["size/parameters"] == 64 * 16 + 16 + 160 + 10
    assert values["size/model_mb"] == size_bytes(folder) / 1e6
    assert all(math.isfinite(value) and value > 0 for value in values.values())


def test_memory_bounds_how_many_sequences_are_measured_at_once(
    tmp_path: Path, text: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "_TARGETS_AT_ONCE", 3 * text.test_targets[0].numel())
    sizes = []

    def watched(model: nn.Module, inputs: tuple[Tensor]) -> None:
        sizes.append(len(inputs[0]))

    real = measure.load

    def load(folder: Path) -> LoadedModel:
        loaded = real(folder)
        loaded.model.register_forward_pre_hook(watched)
        return loaded

    monkeypatch.setattr(measure, "load", load)
    args = {"dim": 16, "depth": 1, "heads": 2}
    spec = ModelSpec(name="gpt", args=args)
    save(tmp_path / "model", make_model(text, "gpt", **args), spec=spec, dataset=text)
    measure_artifact(tmp_path / "model", text, threads=1, device="cpu")
    assert max(sizes) == 3 and sizes[-1] == 3


def test_artifact_is_measured_with_its_own_preprocessing(tmp_path: Path, digits: Dataset) -> None:
    model = make_model(digits, hidden=[16])
    train(model, digits, max_steps=30)
    folder = tmp_path / "model"
    save(folder, model, spec=ModelSpec(name="mlp", args={"hidden": [16]}), dataset=digits)
    values = {m.name: m.value for m in measure_artifact(folder, digits, threads=1, device="cpu")}
    # The same pixels as someone else would standardise them.
    mean, std = digits.preprocessing["mean"][0], digits.preprocessing["std"][0]
    other = replace(
        digits,
        test_inputs=(digits.test_inputs * std + mean - 1.0) / 9.0,
        preprocessing={"mean": [1.0], "std": [9.0]},
    )
    again = {m.name: m.value for m in measure_artifact(folder, other, threads=1, device="cpu")}
    assert again["test/accuracy"] == values["test/accuracy"]
    assert again["test/loss"] == pytest.approx(values["test/loss"], rel=1e-4)


def test_artifact_of_other_classes(tmp_path: Path, digits: Dataset) -> None:
    folder = tmp_path / "model"
    model = make_model(digits, hidden=[4])
    save(folder, model, spec=ModelSpec(name="mlp", args={"hidden": [4]}), dataset=digits)
    file = folder / "model.json"
    described = json.loads(file.read_text())
    file.write_text(json.dumps(described | {"classes": [f"class {i}" for i in range(10)]}))
    with pytest.raises(TaskError, match="was made for data with classes"):
        measure_artifact(folder, digits, threads=1, device="cpu")
