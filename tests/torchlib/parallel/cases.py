"""Trainings to compare: the same on one process and on the ranks of a gang."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Literal

import torch
import torch.distributed as dist
from skipping import Skipping
from torch import Tensor, nn
from torch.distributed.distributed_c10d import _world

from runner.data.models import ModelSpec
from runner.model import Metric, Widths
from runner.torchlib import artifact, data
from runner.torchlib.answers import Store
from runner.torchlib.augmentation import Augmentation
from runner.torchlib.checkpoint import Checkpoints
from runner.torchlib.compilation import compile_model
from runner.torchlib.data import Dataset
from runner.torchlib.distillation import Distillation, make_objective
from runner.torchlib.engine import Single
from runner.torchlib.float8 import convert
from runner.torchlib.hints import Pair, watch
from runner.torchlib.loop import fit
from runner.torchlib.models import build
from runner.torchlib.objectives import CrossEntropy
from runner.torchlib.optimizers import make_optimizer
from runner.torchlib.parallel.engine import make_engine
from runner.torchlib.parallel.options import Options
from runner.torchlib.precision import Precision
from runner.torchlib.recomputation import recompute
from runner.torchlib.schedules import make_schedule
from runner.torchlib.stopping import EarlyStopping
from runner.torchlib.teachers import find
from runner.torchlib.weights import Average, Copy


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A short training. ``samples`` is how much of the data it sees, so that windows are uneven.

    ``checkpoints`` names a folder for one every three steps, and where to go on from; the training
    is given up after step ``stop_at``. With ``taught`` there is a teacher, whose layers are looked
    at through projections, or whose answers the ranks keep on disk together.
    """

    name: str
    model: str = "mlp"
    widths: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 32
    micro: int = 16
    samples: int = 142
    steps: int = 20
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    max_grad_norm: float | None = None
    precision: str = "fp32"
    options: Mapping[str, Any] = field(default_factory=dict)
    ema: float | None = None
    stopping: Mapping[str, Any] | None = None
    augment: Mapping[str, Any] | None = None
    recompute: bool = False
    compile: bool = False
    checkpoints: str | None = None
    stop_at: int | None = None
    taught: Literal["layers", "disk"] | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    losses: list[float]
    scores: list[float]
    other: dict[str, float]
    state: dict[str, Tensor] | None
    groups: int  # made for the mesh, beside that of all ranks


OTHER = (
    "train/skipped_steps",
    "train/best_step",
    "train/stopped_at_step",
    "checkpoint/resumed_at_step",
)

MODELS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": [32, 24, 16]},
    "convnet": {"channels": [4, 8], "hidden": 0},
    "vit": {"dim": 16, "depth": 4, "heads": 4, "patch": 4},
    "gpt": {"dim": 16, "depth": 4, "heads": 4, "tied": False},
    "resnet": {"depth": 8, "width": 4},
}
# The dropout of the model of that name.
SKIPPING = {"skipping": 0.0, "dropping": 0.3}


@cache
def dataset(model: str) -> Dataset:
    if model == "gpt":
        return data.load(name="stdlib", args={"bytes": 20_000}, block_size=16)
    return data.load(name="digits")


def make(case: Case) -> tuple[nn.Module, Dataset]:
    whole = dataset(case.model)
    some = replace(
        whole,
        train_inputs=whole.train_inputs[: case.samples],
        train_targets=whole.train_targets[: case.samples],
        test_inputs=whole.test_inputs[:101],
        test_targets=whole.test_targets[:101],
    )
    if case.model in SKIPPING:
        torch.manual_seed(0)
        return Skipping(dropout=SKIPPING[case.model]), some
    model = build(
        name=case.model,
        args=MODELS[case.model],
        input_shape=some.input_shape,
        num_classes=len(some.classes),
        seed=0,
    )
    return model, some


TEACHERS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": [48, 24]},
    "vit": {"dim": 24, "depth": 2, "heads": 4, "patch": 4},
    "gpt": {"dim": 24, "depth": 2, "heads": 4, "tied": True},
}
PAIRS: dict[str, list[Pair]] = {
    "vit": [
        Pair(student="blocks.2", teacher="blocks.1"),
        Pair(student="blocks.0", teacher="blocks.0", by="attention", weight=5.0),
    ],
    "gpt": [Pair(student="blocks.2", teacher="blocks.1", weight=0.1)],
}


def taught(
    case: Case, model: nn.Module, some: Dataset, rank: int | None, folder: Path | None
) -> tuple[nn.Module, Distillation]:
    """What is trained, and the objective, of a student with a teacher."""
    teacher = build(
        name=case.model,
        args=TEACHERS[case.model],
        input_shape=some.input_shape,
        num_classes=len(some.classes),
        seed=1,
    ).eval()
    if case.taught == "layers":
        hints = watch(model, teacher, PAIRS[case.model], some.train_inputs[:2], seed=0)
        return hints.watched, Distillation(temperature=2.0, alpha=0.5, hints=hints)
    kept = (folder or Path(mkdtemp())) / f"{case.name}-teacher"
    if rank in (None, 0):
        spec = ModelSpec(name=case.model, args=TEACHERS[case.model])
        artifact.save(kept, teacher, spec=spec, dataset=some)
    if rank is not None:
        dist.barrier()
    objective = make_objective(
        [find(kept, lambda folder: nullcontext())],  # type: ignore[arg-type, return-value]
        some,
        temperature=2.0,
        alpha=0.5,
        cache="disk",
        top_k=4,
        store=Store(kept.with_suffix(".logits"), is_shared=rank is not None),
    )
    return model, objective


def train(case: Case, rank: int | None = None, folder: Path | None = None) -> Trained:
    """On one process where ``rank`` is None, else on a gang that has met."""
    model, some = make(case)
    if case.precision == "fp8":
        convert(model, emulate=True)
    if case.recompute:
        recompute(model, is_compiled=case.compile)
    if case.compile:
        compile_model(model, device="cpu")
    objective: Any = CrossEntropy()
    if case.taught is not None:
        model, objective = taught(case, model, some, rank, folder)
    precision = Precision(case.precision, "cpu")  # type: ignore[arg-type]
    groups = 0
    if rank is None:
        engine: Any = Single(model, precision=precision)
    else:
        before = len(_world.pg_map)
        engine = make_engine(
            model,
            widths=Widths(**case.widths),
            precision=precision,
            device="cpu",
            global_batch_size=case.batch,
            micro_batch_size=case.micro,
            options=Options(**case.options),
            sample=some.test_inputs[0],
        )
        groups = len(_world.pg_map) - before
    optimizer = make_optimizer(
        engine.parameters(),
        name=case.optimizer,  # type: ignore[arg-type]
        learning_rate=case.learning_rate,
        weight_decay=0.01,
    )
    average = None if case.ema is None else Average(engine, decay=case.ema)
    stopping = None if case.stopping is None else EarlyStopping(engine, **case.stopping)
    checkpoints = None
    if case.checkpoints is not None and folder is not None:
        copies = [copy for copy in (average, stopping and stopping.best) if isinstance(copy, Copy)]
        checkpoints = Checkpoints(
            folder / case.checkpoints,
            every_steps=3,
            keep=2,
            engine=engine,
            optimizer=optimizer,
            copies=copies,
        )
    events = []
    for event in fit(
        engine,
        some,
        objective=objective,
        optimizer=optimizer,
        schedule=make_schedule(optimizer, name="cosine", warmup_steps=4, total_steps=case.steps),
        global_batch_size=case.batch,
        micro_batch_size=case.micro,
        max_grad_norm=case.max_grad_norm,
        checkpoints=checkpoints,
        augmentation=None if case.augment is None else Augmentation(**case.augment),
        average=average,
        stopping=stopping,
    ):
        if isinstance(event, Metric):
            events.append(event)
            if event.name == "train/loss" and event.step == case.stop_at:
                break
    if checkpoints is not None:
        checkpoints.finish()

    def values(name: str) -> list[float]:
        return [event.value for event in events if event.name == name]

    state = engine.state()
    return Trained(
        losses=values("train/loss"),
        scores=[*values("test/loss"), *values("test/accuracy")],
        other={e.name: e.value for e in events if e.name in OTHER},
        groups=groups,
        state=None if state is None else {k: v.clone().contiguous() for k, v in state.items()},
    )


def furthest(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    assert ours.keys() == theirs.keys()
    return max((ours[name] - theirs[name]).abs().max().item() for name in ours)


def flat(state: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten() for value in state.values()])
