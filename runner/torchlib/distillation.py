"""Distillation: a student learns from a teacher's softened outputs and from the true targets.

Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", section 2; what else
there is of it lies in ``soft_losses`` and ``hints``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from runner.errors import TaskError
from runner.torchlib.answers import Answers, Store
from runner.torchlib.artifact import LoadedModel
from runner.torchlib.data import Dataset
from runner.torchlib.hints import Hints
from runner.torchlib.kept_answers import Softening
from runner.torchlib.layout import place
from runner.torchlib.objectives import rows
from runner.torchlib.soft_losses import (
    Decoupled,
    SoftTargets,
    decoupled,
    divergence,
    mean_of,
    soften,
)
from runner.torchlib.teachers import Teacher, of_model, teacher_logits

__all__ = ["CacheTeacher", "Distillation", "Store", "make_objective", "teacher_logits"]

CacheTeacher = Literal["auto", "always", "disk", "never"]

CACHE_LIMIT_BYTES = 1_000_000_000
"""The most that ``auto`` keeps of a teacher's answers in memory."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Distillation:
    """alpha T^2 soft + (1 - alpha) CE, summed over the targets of a batch.

    soft is KL(teacher_T || student_T), or what ``decoupled`` makes of it, between softmax(logits /
    T). The factor T^2 makes up for its gradient shrinking with 1 / T^2 (end of section 2 of the
    paper). A sample without a label has the soft term alone. ``hints`` add their own loss.

    The teachers' answers are in ``columns``: logits, or, with ``is_softened``, log-probabilities
    at T, as ``SoftTargets`` are; ``kept_in`` is their folder on disk. Where there are none,
    ``teachers`` are run on the inputs; of several the mean answer by ``weights`` is taken.
    """

    temperature: float
    alpha: float
    label_smoothing: float = 0.0
    decoupled: Decoupled | None = None
    is_standardised: bool = False
    teachers: tuple[nn.Module, ...] = ()
    weights: tuple[float, ...] = (1.0,)
    hints: Hints | None = None
    columns: tuple[Tensor, ...] = ()
    is_softened: bool = False
    kept_in: Path | None = None

    def __call__(
        self, logits: Tensor, inputs: Tensor, targets: Tensor, columns: tuple[Tensor, ...]
    ) -> Tensor:
        """The summed loss in nats."""
        theirs, layers = self._answers(inputs, columns)
        student = soften(rows(logits), self.temperature, is_standardised=self.is_standardised)
        if self.decoupled is None:
            soft = divergence(student, theirs)
        else:
            soft = decoupled(student, theirs[-1], targets.flatten(), self.decoupled)
        hard = functional.cross_entropy(
            rows(logits),
            targets.flatten(),
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        loss = self.alpha * self.temperature**2 * soft + (1.0 - self.alpha) * hard
        if self.hints is None:
            return loss
        # As many times as a sample has targets, by whose number the whole is divided.
        per_sample = targets[0].numel()
        return loss + per_sample * self.hints.loss(layers, len(logits))

    def _answers(
        self, inputs: Tensor, columns: tuple[Tensor, ...]
    ) -> tuple[SoftTargets, list[Tensor]]:
        """The soft targets of a batch, and what the teacher's layers gave."""
        if columns and self.is_softened:
            kept = tuple(rows(column) for column in columns)
            return (kept[0], kept[1]) if len(kept) == 2 else (kept[0],), []
        layers: list[Tensor] = []
        if columns:
            logits = list(columns)
        elif self.hints is not None:
            answer, layers = self.hints.answers(inputs)
            logits = [answer]
        else:
            with torch.no_grad():
                logits = [teacher(inputs) for teacher in self.teachers]
        softened = [
            soften(rows(each), self.temperature, is_standardised=self.is_standardised)
            for each in logits
        ]
        return (mean_of(softened, self.weights),), layers


def make_objective(
    teachers: LoadedModel | Sequence[Teacher],
    data: Dataset,
    *,
    temperature: float,
    alpha: float,
    cache: CacheTeacher = "auto",
    label_smoothing: float = 0.0,
    decoupled: Decoupled | None = None,
    is_standardised: bool = False,
    weights: Sequence[float] | None = None,
    top_k: int | None = None,
    hints: Hints | None = None,
    store: Store | None = None,
    device: str = "cpu",
) -> Distillation:
    """The objective of a student that learns from ``teachers`` on ``data``.

    ``alpha`` is the weight of the soft term, in [0, 1]. Where inputs don't change from epoch to
    epoch, a teacher can run once over each sample and its logits be reused; ``auto`` does so where
    they take no more than ``CACHE_LIMIT_BYTES`` (a language model has 256 of them a byte of text),
    and ``disk`` in ``store``. With augmented inputs take ``never``; where the data is streamed, or
    ``hints`` look at layers, nothing is reused. With ``top_k`` only so many classes of each answer
    are kept; these, and answers that can't be had anew, go to the store where they are too much for
    ``auto``. The teachers run in eval mode and without gradients, so that they stay as they are.

    Raises TaskError if a teacher was made for other data, or answers once only where inputs change.
    """
    if isinstance(teachers, LoadedModel):
        teachers = [of_model(teachers)]
    for teacher in teachers:
        teacher.check(data)
    live = [teacher.model.model for teacher in teachers if teacher.model is not None]
    for model in live:
        place(model, device)
        model.eval()
    objective = Distillation(
        temperature=temperature,
        alpha=alpha,
        label_smoothing=label_smoothing,
        decoupled=decoupled,
        is_standardised=is_standardised,
        weights=tuple(weights or [1.0] * len(teachers)),
        hints=hints,
    )
    answers = Answers(
        teachers=teachers,
        weights=objective.weights,
        data=data,
        wanted=Softening(temperature=temperature, is_standardised=is_standardised, top_k=top_k),
        device=device,
    )
    is_anew = cache == "never" or data.stream is not None or hints is not None
    only_kept = len(live) < len(teachers)
    if is_anew and only_kept:
        raise TaskError(
            "a teacher that another runtime runs, or whose answers are kept, answers once for each "
            "sample, and here it would have to in every step",
            hint="leave augment, stream, features and attention out, or take a model of PyTorch",
        )
    is_too_much = cache == "auto" and answers.bytes > CACHE_LIMIT_BYTES
    if is_anew or (is_too_much and not only_kept and top_k is None):
        return replace(objective, teachers=tuple(live))
    is_softened = answers.softening is not None
    if store is None or not (cache == "disk" or is_too_much):
        return replace(objective, columns=answers.in_memory(), is_softened=is_softened)
    kept = answers.on_disk(store)
    return replace(objective, columns=kept.columns, is_softened=is_softened, kept_in=kept.folder)
