"""Every precision on one process: what it trains, and how that is evaluated and kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training import make_model, series, train

from runner.data.models import ModelSpec
from runner.torchlib.artifact import load, save
from runner.torchlib.data import Dataset
from runner.torchlib.engine import Single
from runner.torchlib.measure import evaluate
from runner.torchlib.precision import Precision, PrecisionName

CONVNET = {"channels": [8], "hidden": 0, "pool_every": 1}


@pytest.mark.parametrize("name", ["fp32", "bf16-mixed", "fp16-mixed", "bf16-true"])
def test_it_learns_and_what_is_kept_scores_as_it_did(
    digits: Dataset, tmp_path: Path, name: PrecisionName
) -> None:
    model = make_model(digits, "convnet", **CONVNET)
    events = train(model, digits, epochs=2, precision=name)
    kept = torch.bfloat16 if name == "bf16-true" else torch.float32
    assert {parameter.dtype for parameter in model.parameters()} == {kept}
    ((_, loss), (_, accuracy)) = (
        series(events, f"test/{each}")[-1] for each in ("loss", "accuracy")
    )
    assert accuracy > 0.8
    save(tmp_path / "model", model, spec=ModelSpec(name="convnet", args=CONVNET), dataset=digits)
    reloaded = load(tmp_path / "model").model
    score = evaluate(reloaded, digits, device="cpu")
    assert {parameter.dtype for parameter in reloaded.parameters()} == {torch.float32}
    assert score.loss == pytest.approx(loss, abs=0 if name == "fp32" else 0.02)
    assert score.accuracy == pytest.approx(accuracy, abs=0 if name == "fp32" else 0.01)


def test_it_is_evaluated_in_what_it_is_trained_in(digits: Dataset) -> None:
    model = make_model(digits, "convnet", **CONVNET)
    whole, half = (
        Single(model, precision=Precision(name, "cpu")).score(digits)  # type: ignore[arg-type]
        for name in ("fp32", "bf16-mixed")
    )
    assert whole == evaluate(model, digits, device="cpu")
    assert half.loss != whole.loss
    assert half.loss == pytest.approx(whole.loss, abs=0.02)
