"""Distillation: a student learns from a teacher's softened outputs and from the true targets.

Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", section 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from runner.errors import TaskError
from runner.torchlib.artifact import LoadedModel, check_data
from runner.torchlib.data import Dataset
from runner.torchlib.layout import arrange, place
from runner.torchlib.objectives import rows

CacheTeacher = Literal["auto", "always", "never"]

CACHE_LIMIT_BYTES = 1_000_000_000
"""The largest cache of a teacher's logits that ``auto`` makes: float32, one a target and class."""

_TEACHER_BATCH = 256


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Distillation:
    """alpha T^2 KL(teacher_T || student_T) + (1 - alpha) CE, summed over the targets of a batch.

    The distributions with index T are softmax(logits / T). The factor T^2 makes up for the soft
    term's gradient shrinking with 1 / T^2 (end of section 2 of the paper). The teacher's logits are
    the one tensor in ``columns``; where there is none, ``teacher`` is run on the inputs.
    """

    temperature: float
    alpha: float
    label_smoothing: float = 0.0
    teacher: nn.Module | None = None
    columns: tuple[Tensor, ...] = ()

    def __call__(
        self, logits: Tensor, inputs: Tensor, targets: Tensor, columns: tuple[Tensor, ...]
    ) -> Tensor:
        """The summed loss in nats."""
        if self.teacher is None:
            teacher_logits = columns[0]
        else:
            with torch.no_grad():
                teacher_logits = self.teacher(inputs)
        student = functional.log_softmax(rows(logits) / self.temperature, dim=1)
        teacher = functional.log_softmax(rows(teacher_logits) / self.temperature, dim=1)
        soft = functional.kl_div(student, teacher, reduction="sum", log_target=True)
        hard = functional.cross_entropy(
            rows(logits),
            targets.flatten(),
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        return self.alpha * self.temperature**2 * soft + (1.0 - self.alpha) * hard


def make_objective(
    teacher: LoadedModel,
    data: Dataset,
    *,
    temperature: float,
    alpha: float,
    cache: CacheTeacher = "auto",
    label_smoothing: float = 0.0,
    device: str = "cpu",
) -> Distillation:
    """The objective of a student that learns from ``teacher`` on ``data``.

    ``alpha`` is the weight of the soft term, in [0, 1]. Where inputs don't change from epoch to
    epoch, the teacher can run once over each sample and its logits be reused; ``auto`` does so
    where they take no more than ``CACHE_LIMIT_BYTES`` (a language model has 256 of them a byte of
    text). With augmented inputs take ``never``; where the data is streamed, nothing is reused. The
    teacher runs in eval mode and without gradients, so that it stays as it is.

    Raises TaskError if the teacher was made for other data.
    """
    check_data(teacher, data)
    if data.standardised_as(teacher.preprocessing) is not data:
        raise TaskError(
            "the teacher was trained on data that was standardised differently",
            hint="give the teacher and the student the same `data`",
        )
    place(teacher.model, device)
    teacher.model.eval()
    cache_bytes = data.train_targets.numel() * len(data.classes) * 4
    is_cached = cache == "always" or (cache == "auto" and cache_bytes <= CACHE_LIMIT_BYTES)
    is_cached = is_cached and data.stream is None
    return Distillation(
        temperature=temperature,
        alpha=alpha,
        label_smoothing=label_smoothing,
        teacher=None if is_cached else teacher.model,
        columns=(teacher_logits(teacher.model, data.train_inputs, device=device),)
        if is_cached
        else (),
    )


def teacher_logits(teacher: nn.Module, inputs: Tensor, *, device: str) -> Tensor:
    """The logits of ``teacher``, in eval mode, for each row of ``inputs``; they lie on the CPU."""
    layout = place(teacher, device)
    teacher.eval()
    with torch.no_grad():
        parts = [
            teacher(arrange(part.to(device), layout)).cpu()
            for part in torch.split(inputs, _TEACHER_BATCH)
        ]
    return torch.cat(parts)
