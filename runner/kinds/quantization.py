"""What kind quantize does: try what suits the model, keep the fastest within the gate."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.errors import TaskError
from runner.kinds import Yield
from runner.kinds.allowance import Allowance, allowed
from runner.kinds.aware_training import train_aware
from runner.kinds.backing_off import FEW_ALONE, FEW_GROUPS, MOST_GROUPS, back_off
from runner.kinds.candidates import (
    Candidate,
    Source,
    answers_once,
    check_platform,
    fit,
)
from runner.kinds.changeable import data_for
from runner.kinds.gates import check_gates
from runner.kinds.making import make_all
from runner.kinds.schemes import GRANULARITY, Choice, choices
from runner.model import Artifact, Context, Fact, Metric, Progress

if TYPE_CHECKING:
    from runner.data.classes import Array
    from runner.data.dataset import Dataset
    from runner.edge.quantizers.recipe import Recipe
    from runner.kinds.quantize import QuantizeParams
    from runner.serving.measuring import Measured
    from runner.torchlib.artifact import LoadedModel

GROUP_SIZE = 128
COSINE = "compression/cosine"
# With fewer, what a layer alone does to the answers is still told apart.
_FEW_SAMPLES = 64
_SHOWN_LAYERS = 8
# What is that much faster than the best within what may be lost is worth more measurements.
_WORTH_MORE = 1.2


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tried:
    """A candidate and what was measured of it, beside the model that it was made from."""

    candidate: Candidate
    measured: Measured
    baseline: Measured

    def is_within(self, allowance: Allowance) -> bool:
        """Whether it lost no more than it may."""
        return allowance.holds(self.measured.outputs, self.baseline)

    @property
    def gain(self) -> float:
        """How many times faster: the geometric mean of one sample's call and of throughput."""
        alone = self.baseline.speed.latency_p50_ms / self.measured.speed.latency_p50_ms
        together = self.measured.speed.samples_per_s / self.baseline.speed.samples_per_s
        return math.sqrt(alone * together)


def run(context: Context) -> Iterator[Yield]:
    """Quantizes; yields the artifact ``model``, its figures, and those of all that was tried."""
    from runner.torchlib.artifact import load
    from runner.torchlib.device import prepare
    from runner.torchlib.measure import count_parameters
    from runner.torchlib.pruning.methods import ignored

    params: QuantizeParams = context.params
    prepare(context.device, threads=context.threads)
    if params.scheme == "fp8":
        from runner.torchlib.quantized import check_device

        check_device("fp8", context.device)
    loaded = load(Path(params.model))
    if params.scheme == "int8-qat":
        loaded.need_labels("scheme int8-qat")
    floats = tuple(sorted(ignored(loaded.model, params.ignore)))
    _check_left(loaded, floats)
    if floats:
        yield Fact(name="left in float by ignore", text=_listed(floats))
    data = _data(params, loaded)
    allowed(params, data)
    check_gates(params.gates, data.task)
    samples = _samples(context, params, loaded, data)
    context.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tried-", dir=context.folder) as scratch:
        source = Source(
            loaded=loaded,
            data=data,
            samples=samples,
            parameters=count_parameters(loaded.model),
            scratch=Path(scratch),
            threads=context.threads,
            device=context.device,
            platform=params.platform,
        )
        check_platform(source, _wanted(params, source)[0])
        if params.scheme == "int8-qat":
            source = yield from train_aware(context, params, source, floats)
        recipe = partial(_recipe, params, floats=floats)
        made = yield from make_all(context, source, _wanted(params, source), recipe)
        if made is None:
            return
        yield Progress(step=1, total_steps=2, phase="measure")
        tried = _measure(params, source, made)
        yield from _told(tried)
        best = yield from _best(params, source, tried)
        fit(best.candidate, source)
        folder = context.folder / "model"
        shutil.copytree(best.candidate.folder, folder)
    yield Artifact(name="model", path=folder)
    if params.platform is not None:
        from runner.edge.targets import purpose

        yield Fact(name="made for", text=purpose(params.platform, "model"))
    yield from _figures(best, data, loaded)


def _check_left(loaded: LoadedModel, floats: Sequence[str]) -> None:
    """Raises TaskError if nothing is left to be quantized."""
    with_weights = {
        name
        for name, layer in loaded.model.named_modules()
        if any(weight.dim() > 1 for weight in layer.parameters(recurse=False))
    }
    if with_weights and with_weights <= set(floats):
        raise TaskError(
            f"'ignore' names all {len(with_weights)} layers of the model that have weights to "
            "multiply by, and so leaves nothing to quantize",
            hint="name fewer layers in 'ignore', or use kind: export for a file in floats",
        )


def _data(params: QuantizeParams, loaded: LoadedModel) -> Dataset:
    from runner.data.dataset import origin_of

    data = data_for(params.data, loaded)
    loaded.check(
        task=data.task, input_shape=data.input_shape, classes=data.classes, origin=origin_of(data)
    )
    return data


def _samples(context: Context, params: QuantizeParams, loaded: LoadedModel, data: Dataset) -> Array:
    from runner.data.calibration import calibration_samples

    own = params.calibration.data
    return calibration_samples(
        data if own is None else data_for(own, loaded),
        loaded,
        samples=params.calibration.samples,
        is_measured_on=own is None,
        seed=context.seed,
    )


def _wanted(params: QuantizeParams, source: Source) -> list[Choice]:
    return choices(params.asked_scheme, params.asked_runtime, task=source.data.task)


def _recipe(params: QuantizeParams, choice: Choice, *, floats: tuple[str, ...]) -> Recipe:
    from runner.edge.quantizers.recipe import Recipe

    return Recipe(
        scheme=choice.scheme,
        granularity=params.granularity
        or GRANULARITY.get((choice.scheme, choice.runtime), "channel"),
        group_size=params.group_size or GROUP_SIZE,
        floats=floats,
        is_for_here=params.platform is None,
        is_symmetric=params.platform is not None
        and params.platform.constraints.activations == "symmetric",
    )


def _measure(params: QuantizeParams, source: Source, made: Sequence[Candidate]) -> list[Tried]:
    """All candidates beside the model that they were made from, which take turns."""
    from runner.serving.measuring import measure, rows_at_once

    baseline, *found = measure(
        [Path(params.model), *(candidate.folder for candidate in made)],
        source.data,
        threads=source.threads,
        device=source.device,
        batch_size=rows_at_once(source.data),
    )
    return [
        Tried(candidate=candidate, measured=measured, baseline=baseline)
        for candidate, measured in zip(made, found, strict=True)
    ]


def _told(tried: Sequence[Tried]) -> Iterator[Metric]:
    """Figures of what was tried, where there was a choice."""
    if len(tried) < 2:
        return
    from runner.serving.measuring import compared

    for each in tried:
        prefix = f"tried/{each.candidate.choice.name}/"
        cosine = compared(each.measured, each.baseline)[COSINE]
        for name, value in {**each.measured.metrics(prefix), f"{prefix}{COSINE}": cosine}.items():
            yield Metric(name=name, value=value)


def _best(
    params: QuantizeParams, source: Source, tried: Sequence[Tried]
) -> Generator[Yield, None, Tried]:
    """The fastest within what may be lost, which the fastest of all may be, partly in float."""
    allowance = allowed(params, source.data)
    fastest_first = sorted(tried, key=lambda each: each.gain, reverse=True)
    best = next((each for each in fastest_first if each.is_within(allowance)), None)
    if best is None or fastest_first[0].gain > _WORTH_MORE * best.gain:
        limits = {} if best is None else _worthwhile(fastest_first[0].gain / best.gain)
        restored = None
        try:
            restored = yield from _restored(params, source, fastest_first[0], allowance, **limits)
        except TaskError as error:
            if best is None:
                raise
            lossy = fastest_first[0].candidate.choice
            yield Fact(name=f"not tried partly in float: {lossy}", text=error.message)
        if best is None and restored is None:
            raise _nothing_helps(params, fastest_first[0], allowance)
        best = max((each for each in (best, restored) if each), key=lambda each: each.gain)
    choice, asked = best.candidate.choice, fastest_first[0].candidate.recipe.floats
    made_for = _made_for(choice, is_for_here=best.candidate.recipe.is_for_here)
    yield Fact(name="kept", text=f"{choice}, by {best.measured.runtime}{made_for}")
    if floats := [name for name in best.candidate.recipe.floats if name not in asked]:
        yield Fact(name="stayed in float", text=_listed(floats))
    return best


def _worthwhile(ratio: float) -> dict[str, Any]:
    """How far to look where it is for speed alone: ``ratio`` times what holds anyway.

    A layer takes at least twice as long in float, so that no more than this share of them may go
    back before the gain is used up.
    """
    return {"most_groups": FEW_GROUPS, "most_share": ratio - 1, "most_alone": FEW_ALONE}


def _made_for(choice: Choice, *, is_for_here: bool) -> str:
    from runner.edge.quantizers.onnx import has_vnni

    is_static_onnx = (choice.runtime, choice.scheme) == ("onnx", "int8-static")
    if not is_static_onnx or not is_for_here or not has_vnni():
        return ""
    return "; made for x86 CPUs with VNNI, as this one: on others sums may overflow"


def _restored(
    params: QuantizeParams,
    source: Source,
    lossy: Tried,
    allowance: Allowance,
    *,
    most_groups: int = MOST_GROUPS,
    most_share: float = 1.0,
    most_alone: int | None = None,
) -> Generator[Yield, None, Tried | None]:
    """The candidate with as many of its layers in float as it takes; None if that does not help."""
    import numpy as np

    candidate = lossy.candidate
    layers = source.layers(candidate.choice)
    float_answers = _float_answers(params, source)

    def made(floats: tuple[str, ...], samples: int | None = None) -> Candidate:
        recipe = source.without(candidate.recipe, floats)
        return source.make(candidate.choice, recipe, samples=samples)

    def damage(group: tuple[str, ...]) -> float:
        others = tuple(name for name in layers if name not in group)
        given = answers_once(made(others, _FEW_SAMPLES), source, source.samples)
        return float(np.square(given - float_answers).mean())

    def is_enough(floats: tuple[str, ...]) -> bool:
        given = answers_once(made(floats), source, source.data.test_inputs)
        return allowance.holds(given, lossy.baseline)

    floats = yield from back_off(
        layers,
        most_groups=most_groups,
        most_share=most_share,
        most_alone=most_alone,
        damage=damage,
        is_enough=is_enough,
    )
    if floats is None:
        return None
    (found,) = _measure(params, source, [made(floats)])
    return found


def _nothing_helps(params: QuantizeParams, lossy: Tried, allowance: Allowance) -> TaskError:
    lost = allowance.told(allowance.lost(lossy.measured.outputs, lossy.baseline))
    is_trained = lossy.candidate.choice.scheme == "int8-qat"
    return TaskError(
        f"{lossy.candidate.choice} {lost}, which no part of it in float helps",
        hint="train longer, or at a smaller learning rate"
        if is_trained
        else "allow more, take another scheme such as int8-qat, or more calibration samples",
    )


def _float_answers(params: QuantizeParams, source: Source) -> Array:
    from runner.serving.server import Server

    with Server(Path(params.model), threads=source.threads, device=source.device) as server:
        server.use(source.samples)
        return server.outputs()


def _listed(layers: Sequence[str]) -> str:
    named = [name or "the model's own operators" for name in layers]
    more = f" and {len(named) - _SHOWN_LAYERS} more" if len(named) > _SHOWN_LAYERS else ""
    return f"{len(named)}: {', '.join(named[:_SHOWN_LAYERS])}{more}"


def _figures(best: Tried, data: Dataset, loaded: LoadedModel) -> Iterator[Metric]:
    from runner.serving.measuring import compared

    values = {
        **loaded.sample_counts(len(data.test_inputs)),
        **best.measured.metrics(),
        **compared(best.measured, best.baseline),
    }
    for name, value in values.items():
        yield Metric(name=name, value=value)
