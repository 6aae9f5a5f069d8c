"""How much of what a model is worth may be lost in making it smaller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.errors import TaskError

if TYPE_CHECKING:
    from runner.data.classes import Array
    from runner.data.dataset import Dataset
    from runner.kinds.quantize import QuantizeParams
    from runner.serving.measuring import Measured

_MIN_COSINE, _UNLESS_TOLD = 0.99, 0.01


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Allowance:
    """On the held-out part of ``data``: accuracy or, of embeddings, closeness to what they were."""

    data: Dataset
    max_accuracy_drop: float
    min_cosine: float

    @property
    def most(self) -> float:
        """What may be lost, in the terms of ``lost``."""
        return 1.0 - self.min_cosine if self._is_embedding else self.max_accuracy_drop

    def lost(self, outputs: Array, baseline: Measured) -> float:
        """The part of answers no longer right, less those newly so, or 1 less the mean cosine."""
        from runner.serving.measuring import Agreement, score_of

        score = score_of(outputs, self.data)
        if score is None or baseline.score is None:
            return 1.0 - Agreement.of(outputs, baseline.outputs).cosine
        return baseline.score.accuracy - score.accuracy

    def holds(self, outputs: Array, baseline: Measured) -> bool:
        """Whether no more is lost; what is no number is too much."""
        return self.lost(outputs, baseline) <= self.most

    def told(self, lost: float) -> str:
        """'loses 1.3% of accuracy', and what was to be kept."""
        if self._is_embedding:
            return f"comes to a cosine of {1.0 - lost:.4f}, and min_cosine is {self.min_cosine:g}"
        limit = f"max_accuracy_drop is {self.max_accuracy_drop:g}"
        return f"loses {lost:.1%} of accuracy, and {limit}"

    @property
    def _is_embedding(self) -> bool:
        return self.data.task == "embedding"


def allowed(params: QuantizeParams, data: Dataset) -> Allowance:
    """What ``params`` allow. Raises TaskError for a limit that means nothing for such data."""
    if params.min_cosine is not None and data.task != "embedding":
        raise TaskError(
            "'min_cosine' is of models that give embeddings, and the answers to this data are "
            "right or wrong",
            hint="say by 'max_accuracy_drop' what may be lost",
        )
    if data.task == "embedding" and params.max_accuracy_drop != _UNLESS_TOLD:
        raise TaskError(
            "'max_accuracy_drop' is of models whose answers are right or wrong, and this one gives "
            "embeddings",
            hint="say by 'min_cosine' how close they are to stay",
        )
    return Allowance(
        data=data,
        max_accuracy_drop=params.max_accuracy_drop,
        min_cosine=_MIN_COSINE if params.min_cosine is None else params.min_cosine,
    )
