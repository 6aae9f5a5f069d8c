"""The nouns of runner as frozen types. Everything else in the package is verbs on these.

Job, Task, Resources       what should happen
Node, Inventory            where it could
Placement, Batches, Plan   where it will, and in what portions
Order, Context             one attempt, as it travels and as the kind's code sees it
Metric, Progress, Artifact what a kind yields
Record                     what is kept of it all
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Params: TypeAlias = Mapping[str, Any]

TaskStatus = Literal[
    "pending", "running", "finished", "failed", "lost", "timed_out", "cancelled", "skipped"
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Accelerator:
    """A request for devices: ``family`` is gpu, tpu or npu, ``type`` a model such as H100."""

    family: str
    count: float
    type: str | None = None

    def __str__(self) -> str:
        return f"{self.type or self.family}:{self.count:g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What one worker asks for. ``accelerators`` are alternatives in order; None means CPU."""

    cpus: float = 1.0
    memory_bytes: int | None = None
    accelerators: tuple[Accelerator | None, ...] = (None,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """How often a task whose worker was lost is started again."""

    max_restarts: int = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One piece of work. ``params`` are those of its kind, checked, as JSON."""

    name: str
    kind: str
    params: Params
    resources: Resources = field(default_factory=Resources)
    depends_on: tuple[str, ...] = ()
    retry: Retry = field(default_factory=Retry)
    timeout_s: float | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A checked spec. ``tasks`` stand in the file's order, ``spec`` is the resolved document."""

    name: str
    tasks: tuple[Task, ...]
    spec: Mapping[str, Any]
    file: str
    overrides: tuple[str, ...] = ()
    workdir: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A live node, or (with ``count_max``) a node type of which that many can be started.

    ``accelerators`` holds whole devices; ``resources`` whatever else the node declares to Ray.
    """

    name: str
    id: str | None
    cpus: float
    memory_bytes: int
    accelerators: tuple[Accelerator, ...] = ()
    resources: Mapping[str, float] = field(default_factory=dict)
    count_max: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Inventory:
    """What a cluster offers. ``source`` says in words where this was read."""

    source: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where a task runs. ``nodes`` are names; ``node_ids`` pin it (empty for a node type to start).

    ``demand`` is what Ray is asked for: resource name to amount. ``labels`` are those that a node
    still to be started must carry.
    """

    device: str
    nodes: tuple[str, ...]
    node_ids: tuple[str, ...]
    demand: Mapping[str, float]
    reason: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Batches:
    """The batch arithmetic: global = per device x accumulation x workers.

    Samples and steps are None where they are only known once the data is read.
    """

    global_batch_size: int
    per_device_batch_size: int
    gradient_accumulation_steps: int
    num_workers: int
    train_samples: int | None
    steps_per_epoch: int | None
    total_steps: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedTask:
    """A task with its placement, its batches (if it trains) and its wave.

    The wave is the length of the longest chain of tasks before it: 0 starts at once.
    """

    task: Task
    placement: Placement
    batches: Batches | None
    wave: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A job with a placement for every task: what is shown is what is sent."""

    job: Job
    cluster: str
    tasks: tuple[PlannedTask, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """One attempt at one task, as it travels to a worker: JSON, with references resolved.

    ``ready_at_s`` is the Unix time at which nothing kept the task from starting any more;
    ``workdir`` a folder of the user's code to import from.
    """

    run: str
    task: str
    attempt: int
    kind: str
    params: Params
    folder: str
    seed: int
    device: str
    threads: int
    ready_at_s: float
    workdir: str | None = None
    rank: int = 0
    world_size: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What a kind's ``run`` sees: its checked parameters and the attempt's surroundings.

    ``params`` is an instance of the kind's own parameter model; ``device`` a torch device name such
    as ``cpu`` or ``cuda:0``; files that outlive the attempt go below ``folder``.
    """

    params: Any
    folder: Path
    seed: int = 0
    device: str = "cpu"
    threads: int = 1
    ready_at_s: float = 0.0
    rank: int = 0
    world_size: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One number. The unit is in the name; ``step`` makes it a point of a series."""

    name: str
    value: float
    step: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far an attempt is: steps done of all steps, and the rate, for people who watch."""

    step: int
    total_steps: int
    epoch: float | None = None
    samples_per_s: float | None = None
    loss: float | None = None
    phase: str = "train"


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """A file or folder that a task made and wants kept, at ``path``."""

    name: str
    path: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One thing that happened: a line of ``records.jsonl``. ``at_s`` is Unix time.

    event            task  attempt  data
    run_started      -     -        run, job, driver {host, pid, started}, submitted_at_s,
                                    cluster, environment
    attempt_started  yes   yes      placement
    waiting          yes   yes      reason
    attempt_running  yes   yes      node, host, pid, environment {python, torch, device, ...}
    progress         yes   yes      step, total_steps, epoch, samples_per_s, loss, phase
    metrics          yes   yes      points [[name, step or null, value], ...]
    artifact         yes   yes      name, path, bytes, sha256
    attempt_ended    yes   yes      status, error {type, message, hint, frames, log} or null;
                                    frames are "file:line in function: source", the user's first
    task_ended       yes   -        status, error or null
    heartbeat        -     -        -
    run_ended        -     -        status
    """

    at_s: float
    event: str
    task: str | None = None
    attempt: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
