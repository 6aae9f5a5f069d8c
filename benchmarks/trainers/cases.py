"""What is trained: three models on three data sets, the same for every loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LEARNING_RATE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model on data. ``batches`` is how many an epoch has, None for what the data gives.

    ``epochs`` of them make a timed round.
    """

    data: str
    data_args: Mapping[str, Any] = field(default_factory=dict)
    model: str
    args: Mapping[str, Any]
    batch: int
    batches: int | None = None
    epochs: int

    @property
    def title(self) -> str:
        return f"{self.data} / {self.model}"


CASES = {
    "mlp": Case(data="digits", model="mlp", args={"hidden": [256, 128]}, batch=64, epochs=20),
    "convnet": Case(
        data="mnist5k",
        model="convnet",
        args={"channels": [16, 32], "hidden": 0, "pool_every": 1},
        batch=64,
        epochs=1,
    ),
    "gpt": Case(
        data="stdlib",
        data_args={"bytes": 240_000},
        model="gpt",
        args={"dim": 128, "depth": 2, "heads": 4},
        batch=16,
        batches=30,
        epochs=1,
    ),
}
