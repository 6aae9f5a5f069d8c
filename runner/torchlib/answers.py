"""The answers of teachers to all samples to train on, each asked once, in memory or on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from runner.data.described import DESCRIPTION
from runner.torchlib import kept_answers
from runner.torchlib.data import Dataset
from runner.torchlib.kept_answers import KeptAnswers, Softening
from runner.torchlib.soft_losses import lump, mean_of, soften
from runner.torchlib.teachers import Teacher, rows_at_once

Columns: TypeAlias = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Store:
    """Where answers are kept on disk: in ``folder``, unless one of ``earlier`` has them already.

    ``is_shared`` says that all ranks of a gang reach it.
    """

    folder: Path
    earlier: tuple[Path, ...] = ()
    is_shared: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answers:
    """What ``teachers`` say of the samples to train on, as columns of an objective.

    One teacher's answers are logits. Those of several, of which ``weights`` make the mean, and
    those of which the top k are kept, go through what is ``wanted`` first.
    """

    teachers: Sequence[Teacher]
    weights: Sequence[float]
    data: Dataset
    wanted: Softening
    device: str

    @property
    def softening(self) -> Softening | None:
        """What logits go through before they are kept; None for logits as they are.

        Raises TaskError if they were kept before, softened in another way.
        """
        wanted = self._possible()
        kept = self._kept_alone()
        if kept is not None:
            kept.check_softening(wanted)
            return kept.softening
        return None if len(self.teachers) == 1 and wanted.top_k is None else wanted

    @property
    def bytes(self) -> int:
        """What the columns take."""
        targets, classes = self.data.train_targets.numel(), len(self.data.classes)
        k = self._possible().top_k
        if k is None:
            return targets * classes * 4
        return targets * (k * (1 if classes <= 256 else 4) + (k + 1) * 4)

    def in_memory(self) -> Columns:
        """All answers; of those that are on disk already, they stay there."""
        softening, kept = self.softening, self._kept_alone()
        if kept is not None:
            return kept.columns
        samples, size = len(self.data.train_inputs), rows_at_once(self.data.train_inputs)
        with ExitStack() as stack:
            compute = self._computing(stack, softening)
            parts = [
                compute(start, min(start + size, samples)) for start in range(0, samples, size)
            ]
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    def on_disk(self, store: Store) -> KeptAnswers:
        """Answers that are kept in the store, computed unless they are on disk already."""
        softening, kept = self.softening, self._kept_alone()
        if kept is not None:
            return kept
        about = {
            "teachers": [kept_answers.digest_of_folder(each.folder) for each in self.teachers],
            "weights": list(self.weights),
            "samples": kept_answers.digest_of(self.data),
        }
        for folder in (store.folder, *store.earlier):
            if kept_answers.is_one(folder):
                found = kept_answers.open_kept(folder)
                if found.softening == softening and about.items() <= found.about.items():
                    return found
        with ExitStack() as stack:
            kept_answers.keep(
                store.folder,
                about=about,
                softening=softening,
                description=self.teachers[0].folder / DESCRIPTION,
                samples=len(self.data.train_inputs),
                compute=self._computing(stack, softening),
                at_once=rows_at_once(self.data.train_inputs),
                is_shared=store.is_shared,
            )
        return kept_answers.open_kept(store.folder)

    def _possible(self) -> Softening:
        """What is wanted, without the top k where they would be all there are."""
        k = self.wanted.top_k
        return self.wanted if k and k < len(self.data.classes) else replace(self.wanted, top_k=None)

    def _kept_alone(self) -> KeptAnswers | None:
        """The answers of the one teacher, if they are on disk in the form that is wanted."""
        kept = self.teachers[0].kept
        if len(self.teachers) > 1 or kept is None:
            return None
        return kept if kept.softening is not None or self._possible().top_k is None else None

    def _computing(
        self, stack: ExitStack, softening: Softening | None
    ) -> Callable[[int, int], Columns]:
        """What gives the columns of samples from one to another, for as long as ``stack`` lasts."""
        asked = [each.answering(stack, device=self.device) for each in self.teachers]

        def compute(start: int, stop: int) -> Columns:
            inputs = self.data.train_inputs[start:stop]
            logits = [ask(inputs, start) for ask in asked]
            if softening is None:
                return (logits[0],)
            softened = mean_of(
                [
                    soften(each, softening.temperature, is_standardised=softening.is_standardised)
                    for each in logits
                ],
                self.weights,
            )
            return (softened,) if softening.top_k is None else lump(softened, softening.top_k)

        return compute
