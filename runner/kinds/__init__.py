"""The kinds of task. One file a kind; this table finds it by name, and imports it only then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from runner.model import Artifact, Context, Fact, Metric, Params, Progress, Resources

if TYPE_CHECKING:
    from pydantic import BaseModel

Yield: TypeAlias = Metric | Fact | Progress | Artifact

KINDS = {
    "train": "runner.kinds.train",
    "distill": "runner.kinds.distill",
    "evaluate": "runner.kinds.evaluate",
    "prune": "runner.kinds.prune",
    "quantize": "runner.kinds.quantize",
    "fuse": "runner.kinds.fuse",
    "export": "runner.kinds.export",
    "bench": "runner.kinds.bench",
    "keras": "runner.kinds.keras",
}


# Tells a process that waits for a task which framework to have at hand, torch unless set.
PRELOAD = "RUNNER_PRELOAD"

Framework: TypeAlias = Literal["torch", "tensorflow", "jax"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Maker:
    """Who makes an artifact that a task refers to: a task of ``kind``.

    ``is_model`` says that it is a model of the ``framework`` which can still be changed, and not
    what was made of one for a runtime.
    """

    kind: str
    framework: Framework
    is_model: bool


Makers: TypeAlias = Mapping[str, tuple[Maker, ...]]
"""Of each parameter that refers to artifacts of other tasks, who makes them."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A sort of task. ``outputs`` are the artifacts other tasks may refer to; ``made`` tells which
    of them a task with these parameters makes, where that is not all.

    ``run`` is a generator; it alone may import a framework. ``starter`` is a commented spec that
    runs as it stands, printed by ``runner init``. ``devices`` are the families it can run on;
    ``is_gang`` says that several workers can share one task of it. ``framework`` is what its
    process loads, or tells that from a task's parameters: none loads two. ``resources`` is what a
    task with these parameters asks of the nodes, given what its spec asks; it raises ValueError
    where the two don't go together. ``check_makers`` does so where artifacts that a task refers to
    are such as it can't take: it gets the task as its spec has it, and who makes them.
    ``makes_models`` says that what it makes can be changed further, and is for no runtime alone.
    """

    name: str
    summary: str
    params: type[BaseModel]
    outputs: tuple[str, ...]
    starter: str
    devices: tuple[str, ...]
    run: Callable[[Context], Iterator[Yield]]
    is_gang: bool = False
    framework: Framework | Callable[[Params], Framework] = "torch"
    resources: Callable[[Any, Resources], Resources] | None = None
    check_makers: Callable[[Any, Makers], None] | None = None
    makes_models: bool = True
    made: Callable[[Params], tuple[str, ...]] | None = None

    def outputs_of(self, params: Params) -> tuple[str, ...]:
        """The artifacts of a task with these parameters that others may refer to."""
        return self.outputs if self.made is None else self.made(params)

    def framework_of(self, params: Params) -> Framework:
        """What the process of a task with these parameters loads."""
        return self.framework(params) if callable(self.framework) else self.framework

    def environment(self, params: Params) -> dict[str, str]:
        """Variables that the processes of a task with these parameters are started with."""
        framework = self.framework_of(params)
        return {} if framework == "torch" else {PRELOAD: framework}


def find(name: str) -> Kind:
    """The kind called ``name``, its file imported. Raises KeyError if there is none."""
    module: Any = import_module(KINDS[name])
    kind: Kind = module.KIND
    return kind
