"""The kinds of task. One file a kind; this table finds it by name, and imports it only then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from runner.model import Artifact, Context, Fact, Metric, Progress, Resources

if TYPE_CHECKING:
    from pydantic import BaseModel

Yield: TypeAlias = Metric | Fact | Progress | Artifact

KINDS = {
    "train": "runner.kinds.train",
    "distill": "runner.kinds.distill",
    "evaluate": "runner.kinds.evaluate",
    "bench": "runner.kinds.bench",
    "keras": "runner.kinds.keras",
}


# Tells a process that waits for a task which framework to have at hand, torch unless set.
PRELOAD = "RUNNER_PRELOAD"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A sort of task. ``outputs`` are the artifacts other tasks may refer to.

    ``run`` is a generator; it alone may import a framework. ``starter`` is a commented spec that
    runs as it stands, printed by ``runner init``. ``devices`` are the families it can run on;
    ``is_gang`` says that several workers can share one task of it. ``framework`` is what its
    process loads: none loads two. ``resources`` is what a task with these parameters asks of the
    nodes, given what its spec asks; it raises ValueError where the two don't go together.
    """

    name: str
    summary: str
    params: type[BaseModel]
    outputs: tuple[str, ...]
    starter: str
    devices: tuple[str, ...]
    run: Callable[[Context], Iterator[Yield]]
    is_gang: bool = False
    framework: Literal["torch", "tensorflow"] = "torch"
    resources: Callable[[Any, Resources], Resources] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Variables that its processes are started with."""
        return {} if self.framework == "torch" else {PRELOAD: self.framework}


def find(name: str) -> Kind:
    """The kind called ``name``, its file imported. Raises KeyError if there is none."""
    module: Any = import_module(KINDS[name])
    kind: Kind = module.KIND
    return kind
