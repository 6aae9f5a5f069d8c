"""Distillation with Keras: what goes with it, and how it runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.kinds import Framework, Makers, Yield
from runner.kinds.keras_exports import ExportsParams
from runner.kinds.keras_fitting import fit_and_keep, gang_of, measuring_device, ready
from runner.kinds.keras_training import KerasParams, StrategyParams, on_one_worker
from runner.kinds.keras_training import resources as resources_of_keras
from runner.model import Context, Metric, Params, Resources

if TYPE_CHECKING:
    from runner.data.dataset import Dataset
    from runner.kinds.distill import DistillParams
    from runner.tflib.objectives import Objective

# What kind distill has beside a training, and takes with either framework.
_OF_BOTH = frozenset({"framework", "teacher", "temperature", "alpha", "cache_teacher"})
_NAMES = {"torch": "PyTorch", "keras": "Keras"}
_DEVICES = {"torch": ("cpu", "gpu", "npu"), "keras": ("cpu", "tpu")}


def framework(params: Params) -> Framework:
    """What the process of a task loads."""
    return "tensorflow" if params.get("framework") == "keras" else "torch"


def check(params: DistillParams, names: Collection[str]) -> None:
    """Raises ValueError where one of the parameters ``names`` does not go with the framework.

    With Keras the student's training must be one that kind keras would take: what it would refuse
    is in the ValidationError that is raised then.
    """
    # A message that names another parameter would be placed there.
    if params.framework == "torch":
        refused = set(StrategyParams.model_fields) | set(ExportsParams.model_fields)
        why = "is for Keras; expected framework: keras, or no"
    else:
        refused = set(names) - set(KerasParams.model_fields) - _OF_BOTH
        why = "is for PyTorch, and the student is of Keras; expected no"
    for name, field in type(params).model_fields.items():
        # Not only what is written: parameters come back from a plan with their defaults.
        default = field.get_default(call_default_factory=True)
        if name in refused and getattr(params, name) != default:
            raise ValueError(f"'{name}' {why} '{name}'")
    if params.framework == "keras":
        if not isinstance(params.teacher, str):
            raise ValueError(
                "'teacher' is a list, which is for PyTorch, and the student is of Keras; expected "
                "one teacher"
            )
        if params.cache_teacher == "disk":
            raise ValueError(
                "'cache_teacher: disk' is for PyTorch, and the student is of Keras; expected auto, "
                "always or never"
            )
        fitting(params)


def fitting(params: DistillParams) -> KerasParams:
    """The student's training as kind keras takes it. Raises ValidationError where it does not."""
    shared = set(KerasParams.model_fields) - {"gates"}  # those of compression are others
    given = params.model_dump(include=shared, exclude_none=True)
    return KerasParams.model_validate(given, strict=False)


def resources(params: Any, asked: Resources) -> Resources:
    """What such a task asks of the nodes. Raises ValueError where it does not go together."""
    usable = _DEVICES[params.framework]
    for choice in asked.accelerators:
        if choice is not None and choice.family not in usable:
            raise ValueError(
                f"accelerators: {_NAMES[params.framework]} does not run on {choice}; "
                f"expected {' or '.join(usable)}"
            )
    if params.framework == "torch":
        return asked
    asked = on_one_worker(asked, "a student of Keras is trained by one worker")
    return resources_of_keras(params, asked)


def check_makers(params: Any, makers: Makers) -> None:
    """Raises ValueError where the teacher comes from a task of the other framework.

    A student of PyTorch learns from any teacher's answers; only to look into its layers, it must be
    of PyTorch, too.
    """
    is_torch = params.framework == "torch"
    if is_torch and not (params.features or params.attention):
        return
    expected = "no 'features' nor 'attention'" if is_torch else "one of Keras"
    for maker in makers.get("teacher", ()):
        theirs = _NAMES["torch" if maker.framework == "torch" else "keras"]
        if (maker.framework == "torch") != is_torch:
            raise ValueError(
                f"'teacher' is of {theirs}, and the student of {_NAMES[params.framework]}; "
                f"expected {expected}"
            )
        if not maker.is_model:
            raise ValueError(
                f"'teacher' is what {maker.kind} makes of a model of {theirs}; expected {expected}"
            )


def run(context: Context) -> Iterator[Yield]:
    """Distils; yields the student as artifact ``model``, both models' measurements and ratios."""
    from runner.data.described import read
    from runner.kinds.distill import compression
    from runner.tflib.strategy import running

    params: DistillParams = context.params
    training = fitting(params)
    assert isinstance(params.teacher, str) and params.cache_teacher != "disk"
    folder, cache = Path(params.teacher), params.cache_teacher
    teacher = read(folder, framework="keras")
    measured: dict[str, float] = {}
    seen: list[Dataset] = []
    decision, address = yield from ready(context, training)
    device = measuring_device(decision)
    with running(decision, address=address, gang=gang_of(context)) as strategy:

        def objective_for(data: Dataset) -> Objective:
            from runner.tflib.distillation import make_objective

            seen.append(data)
            return make_objective(
                folder,
                data,
                strategy=strategy,
                device=device,
                temperature=params.temperature,
                alpha=params.alpha,
                cache=cache,
                label_smoothing=params.label_smoothing,
            )

        for item in fit_and_keep(
            context, training, decision, strategy, objective_for, teacher.preparation
        ):
            if isinstance(item, Metric) and item.step is None:
                measured[item.name] = item.value
            yield item
        from runner.tflib.measure import measure_artifact

        # The teacher is measured here and not where it was trained: same process, same load.
        baseline = {
            metric.name: metric.value
            for metric in measure_artifact(folder, seen[0], device=device)
            if metric.name != "memory/peak_mb" and not metric.name.startswith("data/")
        }
    for name, value in baseline.items():
        yield Metric(name=f"baseline/{name}", value=value)
    yield from compression(baseline, measured)
