"""Pruning on a GPU: every method, tuned there, gives what is loaded on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from runner.kinds import find
from runner.model import Context, Metric
from runner.torchlib.artifact import load

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA device"),
    pytest.mark.filterwarnings("default"),
    pytest.mark.timeout(600),
]

DIGITS = {"name": "digits"}


def run(kind: str, folder: Path, **params: Any) -> dict[str, float]:
    found = find(kind)
    context = Context(params=found.params.model_validate(params), folder=folder, device="cuda")
    return {item.name: item.value for item in found.run(context) if isinstance(item, Metric)}


@pytest.mark.parametrize("name", ["convnet", "vit"])
@pytest.mark.parametrize(
    "params",
    [
        {"method": "structured"},
        {"method": "taylor", "schedule": "gradual", "precision": "bf16-mixed"},
        {"method": "magnitude", "sparsity": 0.8, "schedule": "gradual"},
        {"method": "2:4"},
    ],
    ids=["structured", "taylor", "magnitude", "2:4"],
)
def test_what_is_pruned_there(tmp_path: Path, name: str, params: dict[str, Any]) -> None:
    if params["method"] in ("structured", "taylor"):
        pytest.importorskip("torch_pruning", reason="structured pruning needs torch-pruning")
    if params["method"] == "2:4":
        params = {**params, "ignore": ["0"] if name == "convnet" else ["embed"]}
    args = {"channels": [16, 32], "hidden": 0} if name == "convnet" else {"dim": 64, "depth": 2}
    run("train", tmp_path / "whole", model={"name": name, "args": args}, data=DIGITS, max_epochs=8)
    whole = str(tmp_path / "whole/model")
    found = run("prune", tmp_path / "less", model=whole, data=DIGITS, max_epochs=6, **params)
    assert found["test/accuracy"] > 0.9
    pruned = load(tmp_path / "less/model")
    count = sum(parameter.numel() for parameter in pruned.model.parameters())
    assert found["size/parameters"] == count
    if params["method"] in ("structured", "taylor"):
        assert count < 0.7 * found["baseline/size/parameters"]
    else:
        assert found["size/zeros"] > 0.4 * count
