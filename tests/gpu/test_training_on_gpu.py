"""Training on a GPU: every precision, compiled, from data on the device and from the host's."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.kinds import Yield, find
from runner.model import Context, Fact, Metric, Widths
from runner.torchlib import data, loop, stopwatch, transfer
from runner.torchlib.batches import Batching, epoch_windows
from runner.torchlib.data import Dataset
from runner.torchlib.device import prepare
from runner.torchlib.engine import Single
from runner.torchlib.float8 import has_float8
from runner.torchlib.loop import fit
from runner.torchlib.models import build
from runner.torchlib.objectives import CrossEntropy
from runner.torchlib.optimizers import make_optimizer
from runner.torchlib.parallel.engine import make_engine
from runner.torchlib.parallel.options import Options
from runner.torchlib.parallel.world import joined
from runner.torchlib.peaks import peak_of
from runner.torchlib.precision import Precision
from runner.torchlib.schedules import make_schedule

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA device"),
    # What compiling warns of, and hides where warnings are no errors.
    pytest.mark.filterwarnings("default"),
    pytest.mark.timeout(600),
]

VIT = {"name": "vit", "args": {"dim": 64, "depth": 2, "heads": 4, "patch": 4}}
CONVNET = {"name": "convnet", "args": {"channels": [16, 32], "hidden": 0}}


def run(folder: Path, **params: Any) -> dict[str, float]:
    """The metrics of a task of kind train, the last of each name."""
    return {item.name: item.value for item in task(folder, **params) if isinstance(item, Metric)}


def task(folder: Path, **params: Any) -> Iterator[Yield]:
    """All that a task of kind train yields."""
    kind = find("train")
    given = {"model": VIT, "data": {"name": "digits"}, "max_epochs": 4,
             "optimizer": {"learning_rate": 2e-3}, **params}  # fmt: skip
    context = Context(params=kind.params.model_validate(given), folder=folder, device="cuda")
    return kind.run(context)


@pytest.mark.parametrize("precision", ["fp32", "bf16-mixed", "fp16-mixed", "bf16-true", "fp8"])
@pytest.mark.parametrize("model", [VIT, CONVNET], ids=["vit", "convnet"])
def test_every_precision_learns(
    tmp_path: Path, precision: str, model: Mapping[str, object]
) -> None:
    if precision == "fp8" and not has_float8("cuda"):
        pytest.skip(f"{torch.cuda.get_device_name()} has no fp8")
    if precision == "fp8" and model is CONVNET:
        pytest.skip("a convnet has no linear layers to work on in fp8")
    if precision.startswith("bf16") and not torch.cuda.is_bf16_supported(False):
        pytest.skip(f"{torch.cuda.get_device_name()} has no bf16")
    found = run(tmp_path, precision=precision, model=model)
    assert found["test/accuracy"] > 0.7
    assert ("train/skipped_steps" in found) == (precision == "fp16-mixed")


@pytest.mark.parametrize("model", [VIT, CONVNET], ids=["blocks", "whole"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_compiled(tmp_path: Path, model: Mapping[str, object], accumulation: int) -> None:
    found = run(
        tmp_path, compile=True, model=model, gradient_accumulation_steps=accumulation,
        global_batch_size=64,
    )  # fmt: skip
    assert found["test/accuracy"] > 0.7


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16-mixed"])
def test_cuda_graphs_train_as_no_graphs_do(
    tmp_path: Path, accumulation: int, precision: str
) -> None:
    """With a last, shorter batch in every epoch, and averaged weights to evaluate."""
    settings: dict[str, Any] = {
        "precision": precision,
        "gradient_accumulation_steps": accumulation,
        "global_batch_size": 64,
        "ema": {"decay": 0.9},
        "max_grad_norm": 1.0,
    }
    items = list(task(tmp_path / "graphs", compile=True, **settings))
    facts = {item.name: item.text for item in items if isinstance(item, Fact)}
    assert facts["CUDA graphs"].startswith("used: ")
    ours, theirs = (
        [item.value for item in found if isinstance(item, Metric) and item.name == "train/loss"]
        for found in (items, task(tmp_path / "plain", **settings))
    )
    assert ours == pytest.approx(theirs, rel=0.05, abs=0.02)


def test_fp8_compiled_trains_as_bf16_does(tmp_path: Path) -> None:
    if not has_float8("cuda"):
        pytest.skip(f"{torch.cuda.get_device_name()} has no fp8")
    found = run(tmp_path / "fp8", precision="fp8", compile=True)
    half = run(tmp_path / "half", precision="bf16-mixed", compile=True)
    assert found["test/loss"] == pytest.approx(half["test/loss"], abs=0.2)


def test_all_techniques_at_once(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        compile=True,
        activation_checkpointing=True,
        ema={"decay": 0.99},
        early_stopping={"patience": 2},
        augment={"crop": 1, "cutout": 2},
        checkpoint={"every_steps": 20},
        max_grad_norm=1.0,
    )
    assert found["test/accuracy"] > 0.5
    assert found["train/best_step"] > 0


def test_utilisation_where_the_peak_is_known(tmp_path: Path) -> None:
    found = run(tmp_path, precision="fp32")
    if peak_of(torch.cuda.get_device_name(), "fp32") is None:
        assert "train/mfu" not in found
    else:
        assert 0 < found["train/mfu"] < 1


def test_data_on_the_device_and_from_the_host_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare("cuda", threads=1)
    digits = data.load(name="digits")
    assert all(tensor.is_cuda for tensor in transfer.settle([digits.train_inputs], "cuda"))
    monkeypatch.setattr(transfer, "_SHARE_FOR_DATA", 0.0)
    assert not transfer.settle([digits.train_inputs], "cuda")[0].is_cuda

    def rows(source: Dataset) -> list[torch.Tensor]:
        windows = epoch_windows(
            (source.train_inputs, source.train_targets),
            batching=Batching(global_batch_size=64, micro_batch_size=32),
            seed=0,
            epoch=0,
            device="cuda",
            layout=torch.contiguous_format,
        )
        return [column for w in windows for p in w.portions for column in p.columns]

    there = replace(
        digits,
        train_inputs=digits.train_inputs.cuda(),
        train_targets=digits.train_targets.cuda(),
    )
    pairs = list(zip(rows(digits), rows(there), strict=True))
    assert pairs and all(one.is_cuda and torch.equal(one, two) for one, two in pairs)


def test_no_step_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two points of the loss, of which a training has at most 200."""
    prepare("cuda", threads=1)
    digits = data.load(name="digits")
    monkeypatch.setattr(loop, "_MAX_POINTS", 1)
    monkeypatch.setattr(stopwatch, "_PROGRESS_INTERVAL_S", 3600.0)
    model = build(**CONVNET, input_shape=(1, 8, 8), num_classes=10)  # type: ignore[arg-type]
    precision = Precision("fp16-mixed", "cuda")
    engine = Single(model, precision=precision, device="cuda")
    optimizer = make_optimizer(engine.parameters())
    backward = engine.backward
    steps = 0

    def watched(*given: Any) -> Any:
        nonlocal steps
        steps += 1
        # The first step asks for its loss; the last is a point.
        torch.cuda.set_sync_debug_mode("error" if 1 < steps < 20 else "default")
        return backward(*given)

    monkeypatch.setattr(engine, "backward", watched)
    try:
        for _ in fit(
            engine,
            digits,
            objective=CrossEntropy(),
            optimizer=optimizer,
            schedule=make_schedule(optimizer, total_steps=20),
            global_batch_size=64,
            max_grad_norm=1.0,
        ):
            torch.cuda.set_sync_debug_mode("default")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert steps == 20


def test_deterministic_training_repeats_to_the_bit(tmp_path: Path) -> None:
    code = find("train")
    given = {"model": CONVNET, "data": {"name": "digits"}, "max_epochs": 1, "deterministic": True,
             "optimizer": {"learning_rate": 2e-3}}  # fmt: skip
    found = []
    try:
        for attempt in ("one", "two"):
            context = Context(
                params=code.params.model_validate(given), folder=tmp_path / attempt, device="cuda"
            )
            found.append(
                [item.value for item in code.run(context)
                 if isinstance(item, Metric) and item.step is not None]
            )  # fmt: skip
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False
    assert found[0] == found[1]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_gang_of_one_over_nccl(tmp_path: Path, strategy: str) -> None:
    prepare("cuda", threads=1)
    digits = data.load(name="digits")
    model = build(**VIT, input_shape=(1, 8, 8), num_classes=10)  # type: ignore[arg-type]
    host = socket.gethostbyname("localhost")
    with joined(folder=tmp_path, host=host, rank=0, world_size=1, device="cuda:0", timeout_s=60):
        engine = make_engine(
            model,
            widths=Widths(strategy=strategy),  # type: ignore[arg-type]
            precision=Precision("fp16-mixed", "cuda"),
            device="cuda:0",
            global_batch_size=64,
            micro_batch_size=32,
            options=Options(),
            sample=digits.test_inputs[0],
        )
        optimizer = make_optimizer(engine.parameters(), learning_rate=2e-3)
        losses = [
            event.value
            for event in fit(
                engine,
                digits,
                objective=CrossEntropy(),
                optimizer=optimizer,
                schedule=make_schedule(optimizer, total_steps=40),
                global_batch_size=64,
                micro_batch_size=32,
                max_grad_norm=1.0,
            )
            if isinstance(event, Metric) and event.name == "train/loss"
        ]
    assert losses[-1] < losses[0] / 2
