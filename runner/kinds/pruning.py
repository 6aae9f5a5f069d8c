"""What kind prune does: prune, fine-tune, keep the better, measure it beside what it was."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from runner.kinds import Yield
from runner.kinds.fitting import load_data, tune
from runner.kinds.training import ModelParams, TrainingParams, batch_sizes
from runner.model import Artifact, Context, Fact, Metric, Progress

if TYPE_CHECKING:
    from runner.kinds.prune import PruneParams
    from runner.torchlib.artifact import LoadedModel
    from runner.torchlib.data import Dataset
    from runner.torchlib.engine import Model
    from runner.torchlib.measure import Score
    from runner.torchlib.objectives import Objective
    from runner.torchlib.pruning.methods import Method

# A call with zeros among the weights is a call without: what differs is how busy the machine was.
NO_CLAIM = (
    "compression/speedup",
    "compression/throughput_ratio",
    "baseline/latency/",
    "baseline/throughput/",
)
ZEROS = (
    "save nothing by themselves: the file is as large and a call takes as long as before, and only "
    "a compressed file is smaller"
)
TWO_OF_FOUR = (
    "; a GPU with sparse tensor cores gains from this pattern in a runtime that packs it, which "
    "nothing here does"
)


def run(context: Context) -> Iterator[Yield]:
    """Prunes; yields the artifact ``model``, its figures, and those of what it was made from."""
    from runner.torchlib import artifact
    from runner.torchlib.device import prepare

    params: PruneParams = context.params
    prepare(context.device, threads=context.threads, deterministic=params.deterministic)
    folder = Path(params.model)
    loaded = artifact.load(folder)
    yield Progress(step=0, total_steps=1, phase="prune")
    early = None if params.is_structured else _zeroing(params, loaded.model)
    data = yield from _data(context, params, loaded)
    method = early or _removing(params, loaded.model, data, context.device)
    yield Fact(name="pruning", text=method.told())
    if method.left_out:
        from runner.torchlib.pruning.methods import left_out_told

        yield Fact(name="not pruned", text=left_out_told(method.left_out))
    if not params.is_structured:
        text = ZEROS + (TWO_OF_FOUR if params.method == "2:4" else "")
        yield Fact(name="zeros", text=text)
    model, is_tuned = yield from _better(context, params, loaded, data, method)
    made = context.folder / "model"
    _save(made, model, loaded, data, is_tuned=is_tuned)
    yield Artifact(name="model", path=made)
    yield Progress(step=1, total_steps=1, phase="measure")
    yield from _measured(context, params, made, folder, data)


def _zeroing(params: PruneParams, model: Model) -> Method:
    from runner.torchlib.pruning.methods import zeroing

    return zeroing(
        model,
        sparsity=params.sparsity,
        scope=params.scope,
        ignore=params.ignore,
        is_two_of_four=params.method == "2:4",
    )


def _removing(params: PruneParams, model: Model, data: Dataset, device: str) -> Method:
    from runner.torchlib.pruning.methods import removing

    return removing(
        model,
        data,
        sparsity=params.sparsity,
        round_to=params.round_to,
        importance="taylor" if params.method == "taylor" else "magnitude",
        ignore=params.ignore,
        device=device,
    )


def _data(
    context: Context, params: PruneParams, loaded: LoadedModel
) -> Generator[Yield, None, Dataset]:
    """The data, made ready in the way of the model."""
    from runner.torchlib.artifact import check_data

    if params.data.stream:
        yield Progress(step=0, total_steps=1, phase="survey")
    data = load_data(params.data, loaded.block_size, loaded.preparation, stream=context.stream)
    if data.stream is not None:
        yield Fact(name="data", text=str(data.stream))
    loaded.need_labels("kind prune")
    check_data(loaded, data)
    return data.standardised_as(loaded.preprocessing)


def _better(
    context: Context, params: PruneParams, loaded: LoadedModel, data: Dataset, method: Method
) -> Generator[Yield, None, tuple[Model, bool]]:
    """The pruned model as it is at once, or fine-tuned: what does better on the held-out data.

    With it comes whether it is the latter.
    """
    from copy import deepcopy

    from runner.torchlib.measure import evaluate

    pruned = deepcopy(loaded.model)
    method.cut(pruned)
    at_once = evaluate(pruned, data, device=context.device)
    yield Metric(name="tried/one-shot/test/accuracy", value=at_once.accuracy)
    if not params.is_tuned:
        yield Fact(name="pruning kept", text=f"the model as it was pruned, {_told(at_once)}")
        return pruned, False
    model = deepcopy(loaded.model if params.schedule == "gradual" else pruned)
    yield from _tune(context, params, model, loaded, data, method)
    if params.schedule == "gradual":
        method.cut(model)
    tuned = evaluate(model, data, device=context.device)
    yield Metric(name="tried/tuned/test/accuracy", value=tuned.accuracy)
    is_better = (tuned.accuracy, -tuned.loss) >= (at_once.accuracy, -at_once.loss)
    kept, other = ("fine-tuned", "as it was pruned at once")[:: 1 if is_better else -1]
    scores = (tuned, at_once)[:: 1 if is_better else -1]
    text = f"the model {kept}, {_told(scores[0])}, and not {other}, {_told(scores[1])}"
    yield Fact(name="pruning kept", text=text)
    return (model, True) if is_better else (pruned, False)


def _told(score: Score) -> str:
    return f"with {score.accuracy:.1%} of the held-out targets right"


def _tune(
    context: Context,
    params: PruneParams,
    model: Model,
    loaded: LoadedModel,
    data: Dataset,
    method: Method,
) -> Iterator[Yield]:
    """Trains ``model``, which is pruned already or, with a gradual schedule, meanwhile."""
    from runner.torchlib.loop import count_steps
    from runner.torchlib.pruning.gradual import Zeros

    training = _training(params, loaded)
    zeros = None
    if params.schedule == "gradual":
        whole, _, _ = batch_sizes(training)
        steps = params.max_steps or count_steps(
            data.train_samples, global_batch_size=whole, epochs=params.max_epochs or 1
        )
        zeros = Zeros(method.choose(model), sparsity=params.sparsity, total_steps=steps)
    elif not params.is_structured:
        zeros = Zeros(method.choose(model), sparsity=params.sparsity)
    objective = _objective(context, params, data)
    yield from tune(context, training, model, data, objective, zeros)


def _training(params: PruneParams, loaded: LoadedModel) -> TrainingParams:
    """The fine-tuning as a training of the model that there is."""
    from runner.kinds.stepping import SteppingParams, TorchSteppingParams

    spec = loaded.spec
    shared = {*SteppingParams.model_fields, *TorchSteppingParams.model_fields}
    return TrainingParams(
        model=ModelParams.model_validate(asdict(spec)),
        data=params.data,
        **{name: getattr(params, name) for name in shared},
    )


def _objective(context: Context, params: PruneParams, data: Dataset) -> Objective:
    from runner.torchlib.objectives import CrossEntropy

    if params.teacher is None:
        return CrossEntropy(label_smoothing=params.label_smoothing)
    from runner.torchlib.artifact import load
    from runner.torchlib.distillation import make_objective

    return make_objective(
        load(Path(params.teacher)),
        data,
        temperature=params.temperature,
        alpha=params.alpha,
        label_smoothing=params.label_smoothing,
        cache="never" if params.augment else "auto",
        device=context.device,
    )


def _save(
    folder: Path, model: Model, loaded: LoadedModel, data: Dataset, *, is_tuned: bool
) -> None:
    from runner.torchlib import artifact
    from runner.torchlib.widths import changed, widths

    narrower = changed(widths(loaded.model), widths(model))
    pruned = {
        name: {**loaded.pruned.get(name, {}), **narrower.get(name, {})}
        for name in {**loaded.pruned, **narrower}
    }
    artifact.save(
        folder,
        model,
        spec=loaded.spec,
        dataset=data,
        pruned=pruned,
        trained_on=None if is_tuned else loaded.trained_on,
    )


def _measured(
    context: Context, params: PruneParams, made: Path, baseline: Path, data: Dataset
) -> Iterator[Yield]:
    """Figures of both models as they are in their folders, measured in turns."""
    from runner.serving.measuring import compared, measure
    from runner.torchlib.data import to_arrays
    from runner.torchlib.measure import throughput_batch
    from runner.torchlib.pruning.contents import contents

    ours, theirs = measure(
        [made, baseline],
        to_arrays(data),
        threads=context.threads,
        device=context.device,
        batch_size=throughput_batch(data),
    )
    held, before = contents(made), contents(baseline)
    values = {
        "data/train_samples": data.train_samples,
        "data/test_samples": len(data.test_inputs),
        **ours.metrics(),
        **held,
        **{f"baseline/{name}": value for name, value in before.items()},
        **compared(ours, theirs),
    }
    if not params.is_structured:
        # With channels gone it says what the size does.
        ratio = before["size/gzip_mb"] / held["size/gzip_mb"]
        yield Metric(name="compression/gzip_ratio", value=ratio)
    for name, value in values.items():
        if params.is_structured or not name.startswith(NO_CLAIM):
            yield Metric(name=name, value=value)
