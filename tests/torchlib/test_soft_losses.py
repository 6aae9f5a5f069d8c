"""The soft losses, against NumPy in float64, written from the papers' equations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from runner.torchlib.soft_losses import (
    Decoupled,
    decoupled,
    divergence,
    lump,
    mean_of,
    soften,
    standardise,
)

Float64 = NDArray[np.float64]
few = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**31 - 1)
spreads = st.sampled_from([0.1, 1.0, 5.0, 30.0])
temperatures = st.sampled_from([0.5, 1.0, 2.0, 4.0, 8.0])


def softmax(logits: Float64) -> Float64:
    e: Float64 = np.exp(logits - logits.max(-1, keepdims=True))
    shares: Float64 = e / e.sum(-1, keepdims=True)
    return shares


def logits(seed: int, spread: float, rows: int = 6, classes: int = 7) -> tuple[Any, Any, Any]:
    random = np.random.RandomState(seed)
    both = spread * random.randn(2, rows, classes)
    return both[0], both[1], random.randint(0, classes, rows)


def kl(p: Float64, q: Float64) -> float:
    return float((p * (np.log(p) - np.log(q))).sum())


def in_numpy(
    student: Float64, teacher: Float64, targets: Any, temperature: float, alpha: float, beta: Any
) -> float:
    """Zhao et al. 2022, equation 7, row by row; ``beta`` of each row, or of all."""
    total = 0.0
    betas = np.broadcast_to(beta, len(targets))
    q, p = softmax(student / temperature), softmax(teacher / temperature)
    for row, target in enumerate(targets):
        binary_p = np.array([p[row, target], 1 - p[row, target]])
        binary_q = np.array([q[row, target], 1 - q[row, target]])
        others = np.arange(p.shape[1]) != target
        # Equation 2: softmax over the classes but the target.
        among_p = softmax(teacher[row, others] / temperature)
        among_q = softmax(student[row, others] / temperature)
        total += alpha * kl(binary_p, binary_q) + betas[row] * kl(among_p, among_q)
    return total


def tensors(student: Float64, teacher: Float64, temperature: float) -> tuple[Any, Any]:
    return tuple(soften(torch.from_numpy(each), temperature) for each in (student, teacher))


@few
@given(seeds, st.sampled_from([0.1, 1.0, 4.0]), temperatures)
def test_decoupled_distillation_is_equation_7(seed: int, spread: float, temperature: float) -> None:
    student, teacher, targets = logits(seed, spread)
    ours = decoupled(
        *tensors(student, teacher, temperature),
        torch.from_numpy(targets),
        Decoupled(alpha=1.5, beta=6.0),
    )
    expected = in_numpy(student, teacher, targets, temperature, 1.5, 6.0)
    assert ours.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@few
@given(seeds, st.sampled_from([0.1, 1.0, 4.0]), temperatures)
def test_the_parts_add_up_to_classical_distillation(
    seed: int, spread: float, temperature: float
) -> None:
    """Equations 5 and 6: KD = TCKD + (1 - p_t) NCKD, and so do the gradients."""
    student, teacher, targets = logits(seed, spread)
    inputs = torch.from_numpy(student).requires_grad_()
    target = torch.from_numpy(targets)
    soft, theirs = soften(inputs, temperature), soften(torch.from_numpy(teacher), temperature)
    whole = divergence(soft, (theirs,))
    parts = torch.zeros((), dtype=torch.float64)
    for row in range(len(targets)):
        beta = 1.0 - theirs[row, target[row]].exp().item()
        weights = Decoupled(alpha=1.0, beta=beta)
        parts = parts + decoupled(
            soft[row : row + 1], theirs[row : row + 1], target[row : row + 1], weights
        )
    assert parts.item() == pytest.approx(whole.item(), rel=1e-6, abs=1e-9)
    one, other = (
        torch.autograd.grad(each, inputs, retain_graph=True)[0] for each in (whole, parts)
    )
    assert torch.allclose(one, other, atol=1e-7)


def test_the_parts_are_weighed_apart() -> None:
    student, teacher, targets = logits(0, 1.0)
    both = tensors(student, teacher, 2.0)
    target = torch.from_numpy(targets)
    tckd = decoupled(*both, target, Decoupled(alpha=1.0, beta=0.0))
    nckd = decoupled(*both, target, Decoupled(alpha=0.0, beta=1.0))
    assert tckd.item() == pytest.approx(in_numpy(student, teacher, targets, 2.0, 1.0, 0.0))
    assert nckd.item() == pytest.approx(in_numpy(student, teacher, targets, 2.0, 0.0, 1.0))
    assert tckd.item() > 0.0
    assert nckd.item() > 0.0


def test_sure_answers_give_no_nan() -> None:
    sure = torch.tensor([[1e4, 0.0, -1e4]])
    both = soften(sure, 1.0), soften(sure.flip(1), 1.0)
    for target in range(3):
        loss = decoupled(*both, torch.tensor([target]), Decoupled())
        assert loss.isfinite()


@few
@given(seeds, spreads)
def test_standardised_logits_are_z_scores(seed: int, spread: float) -> None:
    student, _, _ = logits(seed, spread)
    ours = standardise(torch.from_numpy(student)).numpy()
    mean = student.mean(-1, keepdims=True)
    deviation = np.sqrt(((student - mean) ** 2).mean(-1, keepdims=True))
    assert np.allclose(ours, (student - mean) / deviation, rtol=1e-5)
    # All that is left is their shape: neither a shift nor a scale matters to what is learnt.
    again = soften(torch.from_numpy(3.0 * student + 5.0), 2.0, is_standardised=True)
    assert torch.allclose(again, soften(torch.from_numpy(student), 2.0, is_standardised=True),
                          atol=1e-5)  # fmt: skip


def test_logits_that_are_all_alike_are_no_division_by_zero() -> None:
    flat = soften(torch.full((2, 5), 3.0), 1.0, is_standardised=True)
    assert torch.allclose(flat.exp(), torch.full((2, 5), 0.2))


@few
@given(seeds, st.lists(st.floats(0.1, 10.0), min_size=1, max_size=4))
def test_the_mean_of_several_teachers_is_that_of_their_probabilities(
    seed: int, weights: list[float]
) -> None:
    random = np.random.RandomState(seed)
    each = [softmax(3 * random.randn(4, 5)) for _ in weights]
    expected = sum(w * p for w, p in zip(weights, each, strict=True)) / sum(weights)
    found = mean_of([torch.from_numpy(np.log(p)) for p in each], weights)
    assert np.allclose(found.exp().numpy(), expected, rtol=1e-9)


@few
@given(seeds, st.sampled_from([1.0, 5.0]), st.integers(1, 6))
def test_the_top_k_and_all_others_together(seed: int, spread: float, k: int) -> None:
    student, teacher, _ = logits(seed, spread)
    soft, theirs = tensors(student, teacher, 2.0)
    classes, kept = lump(theirs, k)
    assert (classes.shape, kept.shape) == ((6, k), (6, k + 1))
    assert torch.allclose(kept.exp().sum(-1), torch.ones(6, dtype=torch.float64))
    # Term by term: k outcomes, and one for what is left.
    p, q = softmax(teacher / 2.0), softmax(student / 2.0)
    expected = 0.0
    for row in range(6):
        top = np.argsort(-p[row])[:k]
        few_p = np.append(p[row, top], 1 - p[row, top].sum())
        few_q = np.append(q[row, top], 1 - q[row, top].sum())
        expected += kl(few_p, few_q)
    lumped = divergence(soft, (classes, kept))
    assert lumped.item() == pytest.approx(expected, rel=1e-4, abs=1e-9)
    assert lumped.item() <= divergence(soft, (theirs,)).item() + 1e-9
    assert divergence(theirs, (classes, kept)).item() == pytest.approx(0.0, abs=1e-9)


def test_all_classes_but_one_kept_is_the_whole_divergence_and_its_gradient() -> None:
    student, teacher, _ = logits(3, 2.0)
    inputs = torch.from_numpy(student).requires_grad_()
    theirs = soften(torch.from_numpy(teacher), 2.0)
    losses = [divergence(soften(inputs, 2.0), each) for each in ((theirs,), lump(theirs, 6))]
    assert losses[0].item() == pytest.approx(losses[1].item())
    one, other = (torch.autograd.grad(loss, inputs)[0] for loss in losses)
    assert torch.allclose(one, other)


def test_kept_classes_take_a_byte_where_that_does() -> None:
    assert lump(torch.zeros(2, 256).log_softmax(-1), 3)[0].dtype == torch.uint8
    assert lump(torch.zeros(2, 257).log_softmax(-1), 3)[0].dtype == torch.int32
