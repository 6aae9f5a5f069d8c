"""Layers that are to be alike: the losses against NumPy, the projections, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from training import make_model, series, train

from runner.errors import TaskError
from runner.torchlib.blocks import blocks, state_inside
from runner.torchlib.data import Dataset
from runner.torchlib.distillation import Distillation
from runner.torchlib.hints import Hints, Pair, attention_loss, feature_loss, watch

Float64 = NDArray[np.float64]


def pooled(maps: Float64, height: int, width: int) -> Float64:
    """Mean over equal tiles of (samples, channels, height, width)."""
    samples, channels = maps.shape[:2]
    tiles = maps.reshape(
        samples, channels, height, maps.shape[2] // height, width, maps.shape[3] // width
    )
    mean: Float64 = tiles.mean((3, 5))
    return mean


def features_in_numpy(student: Float64, teacher: Float64) -> float:
    """Romero et al. 2015, equation 3: half the squared norm, here by value."""
    return sum(
        0.5 * float(((one - other) ** 2).sum()) / one.size
        for one, other in zip(student, teacher, strict=True)
    )


def attention_in_numpy(student: Float64, teacher: Float64) -> float:
    """Zagoruyko and Komodakis 2017, equation 2, of maps that F(A) = sum |A_c|^2 made."""
    total = 0.0
    for one, other in zip(student, teacher, strict=True):
        axis = 0 if one.ndim == 3 else 1
        q, r = ((each**2).sum(axis).ravel() for each in (one, other))
        total += 0.5 * float(((q / np.linalg.norm(q) - r / np.linalg.norm(r)) ** 2).sum())
    return total


@pytest.mark.parametrize("shape", [(5, 8), (5, 4, 8), (5, 3, 4, 6)])
def test_features(shape: tuple[int, ...]) -> None:
    random = np.random.RandomState(0)
    one, other = random.randn(2, *shape)
    found = feature_loss(torch.from_numpy(one), torch.from_numpy(other))
    assert found.item() == pytest.approx(features_in_numpy(one, other), rel=1e-12)


@pytest.mark.parametrize("widths", [(7, 7), (7, 3)])
@pytest.mark.parametrize("shape", [(5, 4), (5, 3, 4)])
def test_attention(shape: tuple[int, ...], widths: tuple[int, int]) -> None:
    """Of tokens (samples, tokens, width), and maps (samples, channels, height, width)."""
    random = np.random.RandomState(1)
    one, other = (
        random.randn(shape[0], *shape[1:], width)
        if len(shape) == 2
        else random.randn(shape[0], width, *shape[1:])
        for width in widths
    )
    found = attention_loss(torch.from_numpy(one), torch.from_numpy(other))
    assert found.item() == pytest.approx(attention_in_numpy(one, other), rel=1e-9)
    assert attention_loss(torch.from_numpy(one), 3.0 * torch.from_numpy(one)).item() < 1e-12


def test_larger_maps_are_averaged_to_the_smaller() -> None:
    random = np.random.RandomState(2)
    large, small = random.randn(4, 3, 8, 6), random.randn(4, 3, 4, 3)
    for one, other in ((large, small), (small, large)):
        found = feature_loss(torch.from_numpy(one), torch.from_numpy(other))
        assert found.item() == pytest.approx(features_in_numpy(pooled(large, 4, 3), small))
    squares = pooled((large**2).sum(1, keepdims=True), 4, 3), (small**2).sum(1, keepdims=True)
    rooted = [np.sqrt(each) for each in squares]
    found = attention_loss(torch.from_numpy(large), torch.from_numpy(small))
    assert found.item() == pytest.approx(attention_in_numpy(*rooted))


def convnets(data: Dataset) -> tuple[nn.Module, nn.Module]:
    student = make_model(data, "convnet", channels=[4, 6], hidden=8)
    teacher = make_model(data, "convnet", channels=[8, 12], hidden=16, seed=1).eval()
    return student, teacher


BOTH = [
    Pair(student="5", teacher="5"),
    Pair(student="2", teacher="2", by="attention", weight=20.0),
    Pair(student="8", teacher="8", weight=0.5),
]


def watched(data: Dataset, pairs: list[Pair] = BOTH) -> tuple[nn.Module, Hints]:
    student, teacher = convnets(data)
    return student, watch(student, teacher, pairs, data.train_inputs[:2], seed=7)


def objective(hints: Hints, alpha: float = 0.5) -> Distillation:
    return Distillation(temperature=3.0, alpha=alpha, hints=hints)


def test_a_projection_stands_where_widths_differ(digits: Dataset) -> None:
    _, hints = watched(digits)
    shapes = [[*each.parameters()][:1] for each in hints.watched.projections]
    assert [tuple(weight.shape) for found in shapes for weight in found] == [(12, 6, 1, 1), (16, 8)]
    assert isinstance(hints.watched.projections[1], nn.Identity)
    _, same = watched(digits)
    other = watch(*convnets(digits), BOTH, digits.train_inputs[:2], seed=8)
    weights = [each.watched.projections[2].weight for each in (hints, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_loss_is_that_of_the_layers_outputs_through_the_projections(digits: Dataset) -> None:
    student, hints = watched(digits)
    inputs, targets = digits.train_inputs[:16], digits.train_targets[:16]
    hints.watched.train()
    logits = hints.watched(inputs)
    loss = objective(hints)(logits, inputs, targets, ())

    # The layers one after the other, as nn.Sequential runs them; dropout there is none.
    def upto(model: Any, last: int, x: Tensor) -> Tensor:
        for layer in list(model)[: last + 1]:
            x = layer(x)
        return x

    teacher = hints.teacher
    plain = objective_of_logits(logits, teacher(inputs), targets)
    projections = hints.watched.projections
    expected = plain + sum(
        (
            feature_loss(projections[0](upto(student, 5, inputs)), upto(teacher, 5, inputs)),
            20.0 * attention_loss(upto(student, 2, inputs), upto(teacher, 2, inputs)),
            0.5 * feature_loss(projections[2](upto(student, 8, inputs)), upto(teacher, 8, inputs)),
        ),
        torch.zeros(()),
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def objective_of_logits(student: Tensor, teacher: Tensor, targets: Tensor) -> Tensor:
    plain = Distillation(temperature=3.0, alpha=0.5)
    return plain(student, student, targets, (teacher.detach(),))


def test_what_a_layer_gave_is_taken_before_the_next_works_in_place(digits: Dataset) -> None:
    """Layer 1 is a batch norm, and the ReLU after it writes over what it gave."""
    _, hints = watched(digits, [Pair(student="1", teacher="1")])
    hints.watched.train()
    hints.watched(digits.train_inputs[:8])
    (output,) = hints.watched.seen
    assert output.min().item() < 0.0
    _, (theirs,) = hints.answers(digits.train_inputs[:8])
    assert theirs.min().item() < 0.0


def test_layers_become_alike_and_the_artifact_would_hold_the_student_alone(digits: Dataset) -> None:
    student, hints = watched(digits)
    names = list(student.state_dict())
    before = [parameter.clone() for parameter in hints.watched.projections.parameters()]
    events = train(hints.watched, digits, max_steps=40, objective=objective(hints), batch=32)
    losses = [value for _, value in series(events, "train/loss")]
    assert losses[-1] < 0.6 * losses[0]
    assert any(
        not torch.equal(one, other)
        for one, other in zip(before, hints.watched.projections.parameters(), strict=True)
    )
    inside = state_inside(hints.watched.state_dict())
    assert list(inside) == names
    assert all(torch.equal(inside[name], value) for name, value in student.state_dict().items())


def test_it_goes_on_to_the_last_bit_from_a_checkpoint(digits: Dataset, tmp_path: Path) -> None:
    finals = []
    for folder, stops in (("whole", [None]), ("stopped", [7, None])):
        for stop in stops:
            _, hints = watched(digits)
            train(
                hints.watched,
                digits,
                max_steps=12,
                objective=objective(hints),
                checkpoints=tmp_path / folder,
                stop_after=stop,
            )
        finals.append(hints.watched.state_dict())
    assert any(name.startswith("projections.") for name in finals[0])
    assert all(torch.equal(finals[0][name], finals[1][name]) for name in finals[0])


def test_tokens_of_a_text_count_one_by_one(text: Dataset) -> None:
    student = make_model(text, "gpt", dim=16, depth=1, heads=2)
    teacher = make_model(text, "gpt", dim=32, depth=2, heads=2, seed=1).eval()
    pairs = [Pair(student="blocks.0", teacher="blocks.1", weight=3.0)]
    hints = watch(student, teacher, pairs, text.train_inputs[:2], seed=0)
    inputs, targets = text.train_inputs[:4], text.train_targets[:4].long()
    logits = hints.watched.train()(inputs)
    (ours,) = hints.watched.seen
    loss = objective(hints)(logits, inputs, targets, ())
    answer, (theirs,) = hints.answers(inputs)
    plain = objective_of_logits(logits, answer, targets)
    by_token = 0.5 * (ours - theirs).square().mean(-1).sum()
    assert loss.item() == pytest.approx((plain + 3.0 * by_token).item(), rel=1e-5)


def test_wrapping_leaves_the_blocks_as_they_are(text: Dataset) -> None:
    student = make_model(text, "gpt", dim=16, depth=2, heads=2)
    alone = list(blocks(student))
    teacher = make_model(text, "gpt", dim=32, depth=2, heads=2)
    pairs = [Pair(student="blocks.0", teacher="blocks.0")]
    hints = watch(student, teacher, pairs, text.train_inputs[:2], seed=0)
    assert list(blocks(hints.watched)) == [*alone, *hints.watched.projections]


def refusal(data: Dataset, pair: Pair, **other: Any) -> str:
    student, teacher = convnets(data)
    with pytest.raises(TaskError) as caught:
        watch(
            other.get("student", student),
            other.get("teacher", teacher),
            [pair],
            data.train_inputs[:2],
            seed=0,
        )
    return f"{caught.value.message} ({caught.value.hint})"


def test_a_layer_that_there_is_not_names_near_ones(digits: Dataset, text: Dataset) -> None:
    said = refusal(digits, Pair(student="xyz", teacher="2"))
    assert "the student has no layer 'xyz' (it has 0 (Conv2d), 1 (BatchNorm2d)" in said
    vit = make_model(digits, "vit", dim=16, depth=2, heads=2)
    said = refusal(digits, Pair(student="2", teacher="block.1"), teacher=vit)
    assert "the teacher has no layer 'block.1'; names near that: blocks.1, blocks.0" in said


def test_layers_that_can_not_be_compared(digits: Dataset) -> None:
    said = refusal(digits, Pair(student="2", teacher="8"))
    assert "the student's 2 gives 4x8x8 for a sample, the teacher's 8 16" in said
    assert "these can't be compared" in said
    said = refusal(digits, Pair(student="8", teacher="8", by="attention"))
    assert "a vector has no places to look at" in said
    one, other = (make_model(digits, "vit", dim=16, depth=1, heads=2, patch=p) for p in (2, 4))
    said = refusal(digits, Pair(student="blocks.0", teacher="blocks.0"), student=one, teacher=other)
    assert "as many tokens are needed" in said


def test_a_layer_that_gives_no_tensor(digits: Dataset) -> None:
    class Pairing(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    class First(nn.Module):
        def forward(self, both: tuple[Tensor, Tensor]) -> Tensor:
            return both[0]

    student = nn.Sequential(nn.Flatten(), Pairing(), First(), nn.Linear(64, 10))
    said = refusal(digits, Pair(student="1", teacher="8"), student=student)
    assert "the student's layer 1 gives a tuple" in said
