"""What kind export does: write each file, and prove by its own runtime that it is the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from runner.kinds import Yield
from runner.kinds.changeable import data_for
from runner.kinds.gates import check_gates
from runner.model import Artifact, Context, Fact, Metric, Progress

if TYPE_CHECKING:
    from runner.kinds.export import ExportParams
    from runner.serving.measuring import Measured


def run(context: Context) -> Iterator[Yield]:
    """Yields an artifact for each format, its figures after its name, and those of the model.

    Raises TaskError, before anything is written, if a package is missing or the data is not the
    model's; later, before anything is measured, if a format can't hold the model or the target
    lacks an operator; and if a file gives other outputs than the model on the held-out samples.
    """
    from runner.serving.measuring import compared, measure, rows_at_once
    from runner.serving.sameness import check_equal
    from runner.torchlib import artifact
    from runner.torchlib.device import prepare
    from runner.torchlib.forms import check_packages, write_form

    params: ExportParams = context.params
    formats = params.asked_formats
    check_packages(formats)
    prepare(context.device, threads=context.threads)
    folder = Path(params.model)
    loaded = artifact.load(folder)
    data = data_for(params.data, loaded)
    check_gates(params.gates, data.task)
    for step, name in enumerate(formats):
        yield Progress(step=step, total_steps=len(formats), phase=f"write {name}")
        write_form(
            context.folder / name,
            loaded,
            format=name,
            batch_size=params.asked_rows,
            takes_raw=params.preprocessing == "inside",
            then=partial(_fit_in, params=params, format=name),
        )
    if params.platform is not None:
        from runner.edge.targets import purpose

        yield Fact(name="made for", text=purpose(params.platform, formats[0]))
    yield Progress(step=len(formats), total_steps=len(formats), phase="measure")
    own, *others = measure(
        [folder, *(context.folder / name for name in formats)],
        data,
        threads=context.threads,
        batch_size=rows_at_once(data),
    )
    measured = dict(zip(formats, others, strict=True))
    yield Metric(name="data/test_samples", value=len(data.test_inputs))
    yield from _metrics(own.metrics("baseline/"))
    for name, each in measured.items():
        yield Fact(name=name, text=told(each))
        beside = {
            key: value
            for key, value in compared(each, own).items()
            if not key.startswith("baseline/")
        }
        yield from _metrics({**each.metrics(), **beside}, f"{name}/")
    for name, each in measured.items():
        check_equal(each, own, name=name)
        yield Artifact(name=name, path=context.folder / name)


def told(measured: Measured) -> str:
    """What runs a file, and how much of it is in whose hands."""
    taken = ", ".join(f"{count} by {who}" for who, count in measured.operations.items())
    total = sum(measured.operations.values())
    return f"{measured.runtime}; of {total} operations {taken}" if taken else measured.runtime


def _metrics(values: dict[str, float], prefix: str = "") -> Iterator[Metric]:
    return (Metric(name=f"{prefix}{name}", value=value) for name, value in values.items())


def _fit_in(file: Path, lines: Mapping[str, str], *, params: ExportParams, format: str) -> None:
    """Makes a file that was just written what is asked for beyond its format, or says why not."""
    from runner.edge import held, opset, targets

    platform = params.platform
    if format == "onnx":
        opset.lower(file, params.asked_opset, lines)
    if platform is None:
        return
    held.check(file, platform, format, lines)
    targets.lay_out(file.parent, platform, file)
