"""The nouns of runner as frozen types. Everything else in the package is verbs on these.

Job, Task, Resources       what should happen
Node, Inventory            where it could
Placement, Batches, Plan   where it will, and in what portions
Order, Context             one attempt, as it travels and as the kind's code sees it
Metric, Fact, Progress,
Artifact                   what a kind yields
Record                     what is kept of it all
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from runner.storage import Place, Remote

if TYPE_CHECKING:
    from numpy.typing import NDArray

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Params: TypeAlias = Mapping[str, Any]

Columns: TypeAlias = "Mapping[str, NDArray[Any]]"
Read: TypeAlias = Callable[[], Iterable[Columns]]
Stream: TypeAlias = Callable[[Sequence[Read]], Generator[Columns, None, None]]
"""Carries out reads in other processes, some ahead of who asks, and gives what they yield in order.

A read is of a class that workers have installed, so that it travels as its fields; what it yields
are arrays by name, each with one row a sample, a few megabytes at a time.
"""

TaskStatus = Literal[
    "pending", "running", "finished", "failed", "lost", "timed_out", "cancelled", "skipped"
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Accelerator:
    """A request for devices: ``family`` is gpu, tpu or npu, ``type`` a model such as H100.

    ``resource`` is Ray's name for NPUs, which go by several, where it is known.
    """

    family: str
    count: float
    type: str | None = None
    resource: str | None = None

    def __str__(self) -> str:
        return f"{self.type or self.family}:{self.count:g}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What each worker asks for, and how many there are to be.

    ``accelerators`` are alternatives in order; None means CPU. Fewer than ``num_workers`` will do
    where ``min_workers`` says so. With ``num_nodes`` they are spread evenly over so many nodes.
    With a ``topology``, a TPU's chips are those of the whole slice, and each of its hosts gets a
    worker, of which ``num_workers`` and ``num_nodes``, where they are more than 1 or given, are the
    number.
    """

    cpus: float = 1.0
    memory_bytes: int | None = None
    accelerators: tuple[Accelerator | None, ...] = (None,)
    num_workers: int = 1
    min_workers: int | None = None
    num_nodes: int | None = None
    topology: str | None = None


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
    """A checked spec. ``tasks`` stand in the file's order, ``spec`` is the resolved document.

    ``file`` is the spec's file as it was named, ``path`` the whole path of it, and ``digest`` the
    SHA-256 of what it held.
    """

    name: str
    tasks: tuple[Task, ...]
    spec: Mapping[str, Any]
    file: str
    overrides: tuple[str, ...] = ()
    workdir: str | None = None
    path: str | None = None
    digest: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TpuSlice:
    """The TPU slice that a node is a host of, as far as the node's labels say.

    ``pod_type`` is the cloud's word for its size, such as v4-16; ``worker_id`` the host's number in
    the slice, which is no rank.
    """

    name: str | None = None
    topology: str | None = None
    pod_type: str | None = None
    worker_id: int | None = None


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
    tpu_slice: TpuSlice | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Inventory:
    """What a cluster offers. ``source`` says in words where this was read."""

    source: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where a task runs. ``nodes`` are names; ``node_ids`` pin it (empty for a node type to start).

    ``demand`` is what Ray is asked for each worker: resource name to amount. ``labels`` are those
    that a node still to be started must carry. ``bundles`` are numbers of workers that lie on one
    node each, in the order of their ranks; ``is_spread`` keeps bundles on different nodes, and
    ``in_one_slice`` all of them on the hosts of one TPU slice, whichever of the nodes' is free.
    """

    device: str
    nodes: tuple[str, ...]
    node_ids: tuple[str, ...]
    demand: Mapping[str, float]
    reason: str
    labels: Mapping[str, str] = field(default_factory=dict)
    bundles: tuple[int, ...] = (1,)
    is_spread: bool = False
    in_one_slice: bool = False

    @property
    def num_workers(self) -> int:
        """The number of ranks."""
        return sum(self.bundles)


@dataclass(frozen=True, kw_only=True, slots=True)
class Widths:
    """How the ranks of a gang divide a training: the widths of their mesh, outermost first.

    ``pp`` stages of the model, each on ``dp_replicate`` x ``dp_shard`` ranks that take different
    samples, each of these on ``tp`` ranks that divide the layers. ``strategy`` says how those that
    take different samples keep one model: whole copies (ddp), or shards of it (fsdp).
    """

    strategy: Literal["none", "ddp", "fsdp"] = "none"
    pp: int = 1
    dp_replicate: int = 1
    dp_shard: int = 1
    tp: int = 1

    @property
    def dp(self) -> int:
        """How many portions a batch is divided into."""
        return self.dp_replicate * self.dp_shard

    @property
    def size(self) -> int:
        """The number of ranks."""
        return self.pp * self.dp * self.tp


@dataclass(frozen=True, kw_only=True, slots=True)
class Batches:
    """The batch arithmetic: global = per device x accumulation x workers.

    ``num_workers`` counts those that take different samples; tp and pp ranks share theirs.
    Samples and steps are None where they are only known once the data is read. With ``is_auto`` the
    batch per device is the most it can be: how much fits is found by trying.
    """

    global_batch_size: int
    per_device_batch_size: int
    gradient_accumulation_steps: int
    num_workers: int
    train_samples: int | None
    steps_per_epoch: int | None
    total_steps: int | None
    is_auto: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedTask:
    """A task with its placement, its batches (if it trains) and its wave.

    ``parallelism`` says in words how its workers divide a training, and why; empty for one worker.
    The wave is the length of the longest chain of tasks before it: 0 starts at once.
    """

    task: Task
    placement: Placement
    batches: Batches | None
    wave: int
    parallelism: str = ""


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
    ``workdir`` a folder of the user's code to import from. Each rank of a gang has an order of its
    own; ``host`` is the address by which the others reach this one's node. ``earlier`` are the
    folders of attempts before this one, the newest first. ``max_rows`` is the most samples that a
    forward pass may see, where an attempt before this one ran out of memory with more.
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
    host: str = "127.0.0.1"
    timeout_s: float | None = None
    earlier: tuple[str, ...] = ()
    max_rows: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What a kind's ``run`` sees: its checked parameters and the attempt's surroundings.

    ``params`` is an instance of the kind's own parameter model; ``device`` a torch device name such
    as ``cpu`` or ``cuda:0``; files that outlive the attempt go below ``folder``. Where storage is
    at a URI, that is a folder of this worker's own, and ``remote`` is the attempt's in storage.
    ``stream`` is what data is read with that is not held in memory: None without Ray.
    """

    params: Any
    folder: Path
    seed: int = 0
    device: str = "cpu"
    threads: int = 1
    ready_at_s: float = 0.0
    rank: int = 0
    world_size: int = 1
    host: str = "127.0.0.1"
    timeout_s: float | None = None
    earlier: tuple[Place, ...] = ()
    max_rows: int | None = None
    stream: Stream | None = None
    remote: Remote | None = None

    @property
    def shared(self) -> Place:
        """The attempt's folder as every rank reaches it, and attempts after this one."""
        return self.remote or self.folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One number. The unit is in the name; ``step`` makes it a point of a series."""

    name: str
    value: float
    step: int | None = None


CAVEAT = "caveat"
# Tells an attempt's processes where to put what nobody needs after it: in the run's folder.
SCRATCH = "RUNNER_SCRATCH"


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """Something that a task found out about where it runs, in words: it joins the environment.

    One called ``CAVEAT`` is what the report begins with: its figures are not what was asked for.
    """

    name: str
    text: str


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
    attempt_started  yes   yes      placement, max_rows (of an attempt that is to use less memory)
    waiting          yes   yes      reason
    attempt_running  yes   yes      node, host, pid, environment {python, torch, device, ...}
    fact             yes   yes      name, text
    progress         yes   yes      step, total_steps, epoch, samples_per_s, loss, phase
    metrics          yes   yes      points [[name, step or null, value], ...]
    artifact         yes   yes      name, path, bytes, sha256
    attempt_ended    yes   yes      status, error {type, message, hint, frames, log} or null;
                                    frames are "file:line in function: source", the user's first;
                                    an OutOfMemory has rows, the samples that were tried at once
    task_ended       yes   -        status, error or null
    heartbeat        -     -        -
    run_ended        -     -        status
    """

    at_s: float
    event: str
    task: str | None = None
    attempt: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
