"""What a teacher does for a training in PyTorch: the objective it gives, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from runner.kinds import Yield
from runner.kinds.teaching import TeachingParams
from runner.model import Artifact, Context, Fact

if TYPE_CHECKING:
    from runner.data.dataset import Preparation
    from runner.torchlib.data import Dataset
    from runner.torchlib.distillation import Distillation
    from runner.torchlib.engine import Model
    from runner.torchlib.hints import Hints

# The folder of the answers that are kept on disk, and the name of the artifact that they are.
LOGITS = "logits"


class Teaching:
    """The teachers of one training, which are loaded when this is made.

    Raises TaskError where one can't be.
    """

    def __init__(self, context: Context, params: TeachingParams) -> None:
        from runner.serving.server import Server
        from runner.torchlib.teachers import find

        self._context, self._params = context, params
        serve = partial(Server, threads=context.threads)
        self._teachers = [find(Path(folder), serve) for folder in params.teachers]
        self._hints: Hints | None = None
        self._data: Dataset | None = None
        self._kept: Path | None = None

    @property
    def preparation(self) -> Preparation:
        """How data is made ready, which is that of the first teacher; the others must agree."""
        return self._teachers[0].described.preparation

    def watched(self, student: Model, data: Dataset) -> Model:
        """The student with the layers that are compared, and the projections that this takes."""
        from runner.errors import TaskError
        from runner.torchlib.hints import Pair, watch

        [teacher] = self._teachers
        if teacher.model is None:
            raise TaskError(
                "features and attention are of layers, and this teacher shows its answers only",
                hint="name the artifact of a model of PyTorch, or leave them out",
            )
        teacher.check(data)
        pairs = [
            *(Pair(by="features", **pair.model_dump()) for pair in self._params.features),
            *(Pair(by="attention", **pair.model_dump()) for pair in self._params.attention),
        ]
        self._hints = watch(
            student,
            teacher.model.model,
            pairs,
            data.train_inputs[:2],
            seed=self._context.seed,
        )
        return self._hints.watched

    def objective_for(self, data: Dataset) -> Distillation:
        """What the student minimises on ``data``."""
        from runner.torchlib.answers import Store
        from runner.torchlib.distillation import make_objective
        from runner.torchlib.soft_losses import Decoupled

        self._data = data
        params, context = self._params, self._context
        shared = context.shared
        decoupled = params.decoupled
        objective = make_objective(
            self._teachers,
            data,
            temperature=params.temperature,
            alpha=params.alpha,
            cache="never" if params.augment else params.cache_teacher,
            label_smoothing=params.label_smoothing,
            decoupled=None
            if decoupled is None
            else Decoupled(alpha=decoupled.alpha, beta=decoupled.beta),
            is_standardised=params.standardise_logits,
            weights=params.teacher_weights,
            top_k=params.teacher_top_k,
            hints=self._hints,
            # In storage at a URI nothing can be looked up in place: each rank keeps its own.
            store=Store(
                folder=(shared if isinstance(shared, Path) else context.folder) / LOGITS,
                earlier=tuple(
                    folder / LOGITS for folder in context.earlier if isinstance(folder, Path)
                ),
                is_shared=context.world_size > 1 and isinstance(shared, Path),
            ),
            device=context.device,
        )
        self._kept = objective.kept_in
        return objective

    def told(self) -> Iterator[Yield]:
        """What there is to say of the samples and the teachers, and the answers that are kept."""
        from runner.data.labels import UNLABELLED

        assert self._data is not None
        targets = self._data.train_targets
        without = int((targets == UNLABELLED).sum())
        if without:
            yield Fact(
                name="labels",
                text=f"{len(targets) - without:,} samples have labels; {without:,} others are "
                "labelled by the teacher alone",
            )
        if len(self._teachers) > 1:
            yield Fact(
                name="teachers",
                text=f"{len(self._teachers)}, whose mean answer is learnt; the first is the "
                "baseline",
            )
        if self._kept is not None:
            yield Artifact(name=LOGITS, path=self._kept)

    def baseline(self) -> dict[str, float]:
        """What there is to measure of the first teacher; nothing where there are answers only.

        It is measured here and not where it was trained: same machine, same load.
        """
        data = self._data
        assert data is not None
        teacher, context = self._teachers[0], self._context
        if teacher.kept is not None:
            return {}
        if teacher.model is None:
            from runner.serving.measuring import measure
            from runner.torchlib.data import to_arrays

            [found] = measure([teacher.folder], to_arrays(data), threads=context.threads)
            values = found.metrics()
        else:
            from runner.torchlib.measure import measure_artifact

            values = {
                metric.name: metric.value
                for metric in measure_artifact(
                    teacher.folder, data, threads=context.threads, device=context.device
                )
            }
        return {
            name: value
            for name, value in values.items()
            if name != "memory/peak_mb" and not name.startswith("data/")
        }
