"""What a student is told of its teacher's answers, and how far it is from them.

All of it is on log-probabilities at a temperature T, log softmax(logits / T), one row a target.
Soft targets are either all of a row, (targets, classes), or the most probable k classes of it and
one number for all others together (see ``lump``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

SoftTargets: TypeAlias = tuple[Tensor] | tuple[Tensor, Tensor]
"""(log-probabilities,), or (classes, log-probabilities of these and, last, of all others)."""

_EPSILON = 1e-7


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoupled:
    """Weights of the parts that decoupled distillation has (Zhao et al. 2022, equation 7)."""

    alpha: float = 1.0
    beta: float = 8.0


def standardise(logits: Tensor) -> Tensor:
    """Logits with mean 0 and deviation 1 over the classes of each row.

    The Z-score of Sun et al. 2024, "Logit standardization in knowledge distillation", algorithm 1:
    the deviation is that of the K logits there are, with 1/K; the temperature comes after.
    """
    deviation, mean = torch.std_mean(logits, dim=-1, correction=0, keepdim=True)
    return (logits - mean) / (deviation + _EPSILON)


def soften(logits: Tensor, temperature: float, *, is_standardised: bool = False) -> Tensor:
    """Log-probabilities at a temperature, where asked of logits that are standardised first."""
    logits = standardise(logits) if is_standardised else logits
    return functional.log_softmax(logits / temperature, dim=-1)


def mean_of(log_probabilities: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The log of the weighted arithmetic mean of several teachers' probabilities.

    Hinton, Vinyals and Dean 2015, section 1: the soft targets of an ensemble.
    """
    if len(log_probabilities) == 1:
        return log_probabilities[0]
    shares = torch.tensor(weights, dtype=torch.float64)
    logs = (shares / shares.sum()).log().tolist()
    weighted = [each + log for each, log in zip(log_probabilities, logs, strict=True)]
    return torch.stack(weighted).logsumexp(0)


def lump(log_probabilities: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` most probable classes of each row, and their log-probabilities with the rest's.

    Of (..., classes) the results are (..., k), in the smallest of uint8 and int32 that does, and
    (..., k + 1). What all other classes have together is one outcome more, so that nothing is
    renormalised.
    """
    values, classes = log_probabilities.topk(k, dim=-1)
    rest = log_probabilities.scatter(-1, classes, -torch.inf).logsumexp(-1, keepdim=True)
    small = torch.uint8 if log_probabilities.shape[-1] <= 256 else torch.int32
    return classes.to(small), torch.cat([values, rest], dim=-1)


def divergence(student: Tensor, targets: SoftTargets) -> Tensor:
    """KL(teacher || student) in nats, summed over rows (Hinton, Vinyals and Dean 2015, section 2).

    ``student`` are log-probabilities (rows, classes). Of lumped targets it is that between the
    distributions over k + 1 outcomes, which is no more than the whole one (the log sum inequality)
    and zero where the whole one is.
    """
    if len(targets) == 2:
        classes = targets[0].long()
        rest = student.scatter(-1, classes, -torch.inf).logsumexp(-1, keepdim=True)
        student = torch.cat([student.gather(-1, classes), rest], dim=-1)
    return functional.kl_div(student, targets[-1], reduction="sum", log_target=True)


def decoupled(student: Tensor, teacher: Tensor, targets: Tensor, weights: Decoupled) -> Tensor:
    """alpha TCKD + beta NCKD, summed over rows (Zhao et al. 2022, equation 7).

    TCKD is the KL of the target class against all others, NCKD that among the others. With alpha 1
    and, row by row, beta 1 - p_t of the teacher it is ``divergence`` (equations 5 and 6).
    ``student`` and ``teacher`` are log-probabilities (rows, classes), ``targets`` classes.
    """
    target = targets.unsqueeze(-1)
    others = torch.arange(student.shape[-1] - 1, device=student.device)
    others = others + (others >= target)  # the classes but the target, row by row
    parts = []
    for each in (teacher, student):
        among = each.gather(-1, others)
        together = among.logsumexp(-1, keepdim=True)
        parts.append((torch.cat([each.gather(-1, target), together], dim=-1), among - together))
    (teacher_binary, teacher_others), (student_binary, student_others) = parts
    tckd = functional.kl_div(student_binary, teacher_binary, reduction="sum", log_target=True)
    nckd = functional.kl_div(student_others, teacher_others, reduction="sum", log_target=True)
    return weights.alpha * tckd + weights.beta * nckd
