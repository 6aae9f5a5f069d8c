"""Weights set to zero: which of them, in which pattern, ever more of them, and what they save."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from training import make_model, train

from runner.data.models import ModelSpec
from runner.errors import TaskError
from runner.torchlib.artifact import save
from runner.torchlib.data import Dataset
from runner.torchlib.pruning.contents import contents, count_zeros
from runner.torchlib.pruning.gradual import Zeros, sparsity_at
from runner.torchlib.pruning.methods import Zeroing, zeroing
from runner.torchlib.pruning.zeros import Scope, two_of_four


def weights(model: nn.Module) -> list[np.ndarray]:
    return [p.detach().numpy() for p in model.parameters() if p.ndim > 1]


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_the_smallest_weights_are_zero_and_others_as_they_were(
    digits: Dataset, scope: Scope
) -> None:
    model, before = (make_model(digits, "convnet", channels=[4, 8], hidden=16) for _ in range(2))
    zeroing(model, sparsity=0.8, scope=scope).cut(model)
    ours, theirs = weights(model), weights(before)
    if scope == "global":
        threshold = np.sort(np.abs(np.concatenate([w.ravel() for w in theirs])))
        thresholds = [threshold[round(0.8 * len(threshold))]] * len(theirs)
    else:
        sizes = [np.sort(np.abs(w).ravel()) for w in theirs]
        thresholds = [size[round(0.8 * len(size))] for size in sizes]
    for our, their, threshold in zip(ours, theirs, thresholds, strict=True):
        assert np.array_equal(our, np.where(np.abs(their) >= threshold, their, 0.0))
    total = sum(w.size for w in ours)
    norms = count_zeros(before)
    assert abs(count_zeros(model) - norms - round(0.8 * total)) <= len(ours)


def test_two_of_four_keeps_the_larger_of_neighbouring_inputs() -> None:
    layers = {
        "linear": nn.Parameter(torch.randn(5, 8)),
        "conv": nn.Parameter(torch.randn(3, 12, 2, 2)),
    }
    for weight, mask in two_of_four(layers):
        rows = weight.detach().movedim(1, -1).reshape(-1, 4).abs().numpy()
        kept = mask.movedim(1, -1).reshape(-1, 4).numpy().astype(bool)
        assert (kept.sum(1) == 2).all()
        for sizes, which in zip(rows, kept, strict=True):
            assert set(np.argsort(sizes)[2:]) == set(np.flatnonzero(which))


def test_layers_that_four_does_not_divide_are_named(digits: Dataset) -> None:
    model = make_model(digits, "convnet", channels=[6, 8], hidden=16)
    with pytest.raises(TaskError, match=r"don't divide by four: 0 has 1, 3 has 6$") as caught:
        zeroing(model, sparsity=0.5, is_two_of_four=True)
    assert caught.value.hint == "leave them as they are with ignore: ['0', '3']"
    method = zeroing(model, sparsity=0.5, is_two_of_four=True, ignore=["0", "3"])
    assert method.layers == ("8", "10")
    assert method.left_out == {"0": "named in 'ignore'", "3": "named in 'ignore'"}


def test_embeddings_and_what_shares_their_weights_are_left_out(text: Dataset) -> None:
    method = zeroing(make_model(text, "gpt", dim=16, depth=1, heads=2), sparsity=0.5)
    assert method.left_out == {
        "embed.bytes.weight": "of a Embedding",
        "embed.positions.weight": "of a Embedding",
        "head": "its weights are those of embed.bytes, too",
    }
    assert "blocks.0.attention.qkv" in method.layers
    only = nn.Sequential(nn.Embedding(4, 4))
    with pytest.raises(TaskError, match="no linear layer or convolution is left"):
        zeroing(only, sparsity=0.5)


def test_the_cubic_of_zhu_and_gupta() -> None:
    # Equation 1 in numbers: s_f + (0 - s_f) (1 - t / n)^3.
    found = [sparsity_at(step, 8, 0.9) for step in (0, 2, 4, 8, 9)]
    assert found == pytest.approx([0.0, 0.9 * (1 - 27 / 64), 0.9 * (1 - 1 / 8), 0.9, 0.9])


def share_of_zeros(model: nn.Module, method: Zeroing) -> float:
    found = [model.get_submodule(name).get_parameter("weight") for name in method.layers]
    return sum(int((w == 0).sum()) for w in found) / sum(w.numel() for w in found)


def test_zeros_stay_through_a_training(digits: Dataset) -> None:
    model = make_model(digits, hidden=[16])
    method = zeroing(model, sparsity=0.75, scope="layer")
    method.cut(model)
    zero = [w == 0 for w in weights(model)]
    before = weights(model)[0].copy()
    train(model, digits, max_steps=5, zeros=Zeros(method.choose(model), sparsity=0.75))
    for now, then in zip(weights(model), zero, strict=True):
        assert np.array_equal(now == 0, then)
    assert not np.array_equal(weights(model)[0], before), "the others were trained"


def test_more_and_more_go_until_two_thirds_of_a_training(digits: Dataset) -> None:
    model = make_model(digits, hidden=[16])
    method = zeroing(model, sparsity=0.9)
    choose, seen = method.choose(model), []

    def watched(sparsity: float) -> list[tuple[nn.Parameter, torch.Tensor]]:
        seen.append(sparsity)
        return choose(sparsity)

    zeros = Zeros(watched, sparsity=0.9, total_steps=60)
    train(model, digits, max_steps=60, zeros=zeros)
    assert seen == pytest.approx([sparsity_at(step, 40, 0.9) for step in range(2, 41, 2)])
    assert share_of_zeros(model, method) == pytest.approx(0.9, abs=1e-3)


def test_the_masks_of_a_short_training_are_those_of_its_end(digits: Dataset) -> None:
    model = make_model(digits, hidden=[16])
    method = zeroing(model, sparsity=0.9)
    train(
        model, digits, max_steps=1, zeros=Zeros(method.choose(model), sparsity=0.9, total_steps=1)
    )
    assert share_of_zeros(model, method) == pytest.approx(0.9, abs=1e-3)


def test_zeros_are_smaller_only_once_compressed(tmp_path: Path, digits: Dataset) -> None:
    spec = ModelSpec(name="mlp")
    found = {}
    for name in ("dense", "sparse"):
        model = make_model(digits)
        if name == "sparse":
            zeroing(model, sparsity=0.9).cut(model)
        save(tmp_path / name, model, spec=spec, dataset=digits)
        found[name] = contents(tmp_path / name)
        files = [gzip.compress(file.read_bytes(), 6) for file in (tmp_path / name).iterdir()]
        assert found[name]["size/gzip_mb"] * 1e6 == pytest.approx(sum(map(len, files)), rel=0.01)
    dense, sparse = found["dense"], found["sparse"]
    total = sum(p.numel() for p in model.parameters() if p.ndim > 1)
    assert sparse["size/zeros"] - dense["size/zeros"] == pytest.approx(0.9 * total, abs=3)
    assert sparse["size/gzip_mb"] < 0.3 * dense["size/gzip_mb"]
    # 8 x 8 pixels, layers of 256 and 128, ten classes.
    macs = 64 * 256 + 256 * 128 + 128 * 10
    assert sparse["size/multiply_adds"] == dense["size/multiply_adds"] == macs
