"""The shape of a spec as Pydantic models: what is common to every task, and the job around them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Annotated, Any, cast

from pydantic import AfterValidator, BeforeValidator, Field, create_model, model_validator

from runner import kinds
from runner.model import Accelerator, Resources, Retry
from runner.parameters import Parameters
from runner.spec.document import shown
from runner.spec.resources import parse_accelerator, parse_duration, parse_memory

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"
NAME_WORDS = "letters (A-Z, a-z), digits, - and _, at most 63, beginning with a letter or digit"
# The names of keys at the top begin so that hold anchors for other places and mean nothing more.
EXTENSION = "x-"
MAX_TIMEOUT_S = 365 * 86400
MAX_WORKERS = 10_000
ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"


def _accelerator(text: str) -> str:
    parse_accelerator(text)
    return text


def _is_word(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"{shown(value)} names no device; expected such as gpu:1 or H100:8")
    if isinstance(value, dict) and len(value) == 1:
        [(name, count)] = value.items()
        raise ValueError(f"a map; expected one word, such as {shown(name)}:{shown(count)}")
    return value


def _memory(text: str) -> str:
    parse_memory(text)
    return text


def _has_unit(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is without a unit; expected such as 512MB, 8GB or 4GiB")
    return value


def _alternatives(texts: list[str]) -> list[str]:
    if any(text.strip().lower() == "cpu" for text in texts[:-1]):
        raise ValueError("what follows 'cpu' would never be taken; expected 'cpu' last")
    return texts


def _duration(value: float | str) -> float | str:
    seconds = parse_duration(value) if isinstance(value, str) else value
    if not 0 < seconds <= MAX_TIMEOUT_S:
        raise ValueError("expected more than 0 seconds, and at most a year (365d)")
    return value


AcceleratorText = Annotated[str, BeforeValidator(_is_word), AfterValidator(_accelerator)]
Alternatives = Annotated[list[AcceleratorText], Field(min_length=1), AfterValidator(_alternatives)]
MemoryText = Annotated[str, BeforeValidator(_has_unit), AfterValidator(_memory)]
EnvName = Annotated[str, Field(pattern=ENV_NAME)]
Workers = Annotated[int, Field(ge=1, le=MAX_WORKERS)]


class WorkersSpec(Parameters):
    """As many workers as there is room for, within bounds."""

    min: Workers = Field(description="the fewest that will do")
    max: Workers = Field(description="the most that are of use")

    @model_validator(mode="after")
    def _in_order(self) -> WorkersSpec:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is more than max {self.max}; expected at most that")
        return self


class AcceleratorArgs(Parameters):
    """What else is asked of the devices."""

    topology: str = Field(
        description="how the chips of a TPU slice are arranged, such as 2x4 or 2x2x2; a slice "
        "goes to a task as a whole"
    )


class ResourcesSpec(Parameters):
    """What each worker of a task asks for, and how many workers share the task."""

    cpus: Annotated[float, Field(gt=0, le=100_000)] = Field(
        1.0, description="CPUs of each worker; also the threads that its framework may use"
    )
    memory: MemoryText | None = Field(None, description="main memory of each worker, such as 8GB")
    accelerators: AcceleratorText | Alternatives | None = Field(
        None,
        description="devices, such as gpu:1, H100:8, TPU-V5E:8, npu:1, or npu-coral:1 for what a "
        "node declares by such a name of its own; a list is alternatives in order, where cpu may "
        "come last. Of each worker where num_workers is given; else a task that trains gets a "
        "worker for each GPU, all on one node. Of a TPU the chips: of one host, or with a topology "
        "of the whole slice, and a worker for each host",
    )
    accelerator_args: AcceleratorArgs | None = Field(
        None, description="which slice of TPUs: its topology, such as {topology: 2x4}"
    )
    num_workers: Workers | WorkersSpec | None = Field(
        None,
        description="processes that share the task, each on a GPU of its own if it asks for GPUs; "
        "{min: 1, max: 8} for as many as there is room for",
    )
    num_nodes: Workers | None = Field(
        None, description="nodes over which the workers are spread evenly"
    )

    def resolve(self, *, is_gang: bool) -> Resources:
        """The request as the rest of runner sees it; ``is_gang`` if several workers can share it.

        A worker drives one GPU: where the number of workers is not given there is one for each.
        """
        choices = self.choices()
        nodes, asked = self.num_nodes, self.num_workers
        most = asked.max if isinstance(asked, WorkersSpec) else asked
        topology = self.topology()
        if topology is not None and (most == 1 or not is_gang):
            nodes = nodes or 1  # of slices with as many chips, one with a single host
        if is_gang and most is None:
            most = max(gpus_of(choice) for choice in choices) * (nodes or 1)
            nodes = nodes or (1 if most > 1 else None)  # H100:8 means those of one machine
            choices = tuple(
                replace(choice, count=1.0) if choice and gpus_of(choice) > 1 else choice
                for choice in choices
            )
        return Resources(
            cpus=self.cpus,
            memory_bytes=parse_memory(self.memory) if self.memory else None,
            accelerators=choices,
            num_workers=most or 1,
            min_workers=asked.min if isinstance(asked, WorkersSpec) else None,
            num_nodes=nodes,
            topology=topology,
        )

    def topology(self) -> str | None:
        """The topology of the TPU slice that is asked for; None where no TPU is among the choices.

        Defaults for every task may name one, which means nothing to those on other devices.
        """
        has_tpu = any(choice and choice.family == "tpu" for choice in self.choices())
        return self.accelerator_args.topology if self.accelerator_args and has_tpu else None

    def choices(self) -> tuple[Accelerator | None, ...]:
        """The alternatives as written, in order; None means CPU."""
        asked = self.accelerators
        words = [asked] if isinstance(asked, str) else asked or ["cpu"]
        return tuple(parse_accelerator(word) for word in words)


def gpus_of(choice: Accelerator | None) -> int:
    """The number of whole GPUs that a request names; 1 for what is none, or a share of one."""
    return int(choice.count) if choice and choice.family == "gpu" and choice.count > 1 else 1


class RetrySpec(Parameters):
    """What happens when a worker is lost: killed, out of memory, or its node gone."""

    max_restarts: Annotated[int, Field(ge=0, le=1000)] = Field(
        Retry().max_restarts, description="how often the task is started again"
    )


class CommonSpec(Parameters):
    """What every task may say, whatever its kind; at the top of the file, defaults for all."""

    resources: ResourcesSpec = Field(default_factory=ResourcesSpec)
    retry: RetrySpec = Field(default_factory=RetrySpec)
    timeout: Annotated[float | str, AfterValidator(_duration)] | None = Field(
        None, description="longest time an attempt may take: seconds, or such as 90s, 10m, 2h"
    )
    env: dict[EnvName, str] = Field(
        default_factory=dict, description="environment variables of the worker"
    )
    secrets: list[EnvName] = Field(
        default_factory=list,
        description="variables handed on from the submitting environment and never written down",
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        0, description="seed of everything random in the task"
    )


class TaskSpec(CommonSpec):
    """One task: common fields here, those of its kind beside them."""

    kind: str = Field(description="what sort of task this is; see 'runner kinds'")
    depends_on: list[str] = Field(
        default_factory=list,
        description="tasks that must finish first; a reference ${tasks.NAME.outputs.NAME} "
        "implies it",
    )


class JobSpec(CommonSpec):
    """A spec: a name, defaults for every task, and the tasks."""

    name: Annotated[str, Field(pattern=NAME)] = Field(
        description="the job's name: letters (A-Z, a-z), digits, - and _"
    )
    workdir: str | None = Field(
        None,
        min_length=1,
        description="folder of your own code, beside the spec; shipped to the workers. By default "
        "the spec's own folder, where a task names a factory",
    )
    tasks: Annotated[dict[str, Any], Field(min_length=1)] = Field(
        description="the tasks, by name; they run in the order of what they depend on"
    )


DEFAULTS = tuple(CommonSpec.model_fields)


@cache
def task_model(kind: str) -> type[TaskSpec]:
    """The model of a task of that kind: common fields and the kind's own. Raises KeyError."""
    found = kinds.find(kind)
    bases: Any = (TaskSpec, found.params)
    made = create_model(f"{kind.capitalize()}Task", __base__=bases, __doc__=found.summary)
    return cast(type[TaskSpec], made)
