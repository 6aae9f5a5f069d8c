"""torch.compile: the same training, and that it did compile."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters
from training import make_model, series, train

from runner.errors import TaskError
from runner.torchlib.compilation import compile_model
from runner.torchlib.data import Dataset
from runner.torchlib.float8 import convert
from runner.torchlib.recomputation import recompute

VIT = {"dim": 16, "depth": 4, "heads": 2, "patch": 4}


@pytest.mark.slow
@pytest.mark.timeout(600)
# What compiling warns of, and hides where warnings are no errors.
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("name", "args", "graphs"),
    [
        # One graph for four blocks; one for the last, smaller batch; one to evaluate.
        ("vit", VIT, 3),
        # No blocks: the whole, which is an nn.Sequential, and no module of ours.
        ("mlp", {"hidden": [16]}, 3),
        # Batch norm in blocks, which writes to its statistics.
        ("resnet", {"depth": 8, "width": 4}, None),
    ],
)
@pytest.mark.parametrize("is_recomputed", [False, True])
def test_the_same_training(
    digits: Dataset, name: str, args: dict[str, object], graphs: int | None, is_recomputed: bool
) -> None:
    if is_recomputed and name == "mlp":
        pytest.skip("it has no blocks to recompute")
    plain, compiled = (make_model(digits, name, **args) for _ in range(2))
    if is_recomputed:
        recompute(compiled, is_compiled=True)
    before = counters["stats"]["unique_graphs"]
    compile_model(compiled, device="cpu")
    theirs, ours = (train(model, digits, epochs=1) for model in (plain, compiled))
    made = counters["stats"]["unique_graphs"] - before
    assert made == graphs if graphs is not None else made > 0
    for metric in ("train/loss", "test/loss"):
        expected = [value for _, value in series(theirs, metric)]
        assert [value for _, value in series(ours, metric)] == pytest.approx(expected, abs=1e-3)
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    for key, value in plain.state_dict().items():
        assert torch.allclose(value, compiled.state_dict()[key], atol=1e-2), key


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")
def test_as_for_graphs_it_is_the_same_training_too(digits: Dataset) -> None:
    """On a CPU the mode makes no graphs; all else is as on a GPU."""
    plain, compiled = (make_model(digits, "vit", **VIT) for _ in range(2))
    compile_model(compiled, device="cpu", has_graphs=True)
    theirs, ours = (
        train(model, digits, epochs=1, micro_batch_size=32, has_graphs=model is compiled)
        for model in (plain, compiled)
    )
    for metric in ("train/loss", "test/loss"):
        expected = [value for _, value in series(theirs, metric)]
        assert [value for _, value in series(ours, metric)] == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")
def test_layers_in_fp8_are_compiled(digits: Dataset) -> None:
    models = [make_model(digits, "vit", **{**VIT, "depth": 2, "dim": 32}) for _ in range(2)]
    for model in models:
        convert(model, emulate=True)
    compile_model(models[1], device="cpu")
    plain, compiled = (train(model, digits, epochs=1, precision="fp8") for model in models)
    expected = [value for _, value in series(plain, "train/loss")]
    assert [value for _, value in series(compiled, "train/loss")] == pytest.approx(
        expected, abs=0.1
    )


def test_stages_of_a_model_without_blocks(digits: Dataset) -> None:
    with pytest.raises(TaskError, match="block by block under pp, and Sequential has none"):
        compile_model(make_model(digits, hidden=[8]), device="cpu", is_staged=True)


def test_a_node_without_a_compiler(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(TaskError, match=r"neither no-such-compiler nor clang\+\+"):
        compile_model(make_model(digits, hidden=[8]), device="cpu")
