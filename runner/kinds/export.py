"""kind: export."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Field, model_validator

from runner.kinds import Kind, Makers, Yield
from runner.kinds.changeable import check_models
from runner.kinds.gates import GATES, CompressionGatesParams
from runner.kinds.target import Target, platform_in, platform_of
from runner.kinds.training import ArtifactPath, MeasuredDataParams
from runner.model import Context, Params
from runner.parameters import Parameters, PositiveInt

if TYPE_CHECKING:
    from runner.edge.platforms import Platform

STARTER = """\
# A trained model as files for other runtimes. Run this file with:  runner submit FILE
name: export-digits
tasks:
  model:
    kind: train
    model: {name: convnet, args: {channels: [16, 32], hidden: 64}}
    data: {name: digits}
    max_epochs: 10
  files:
    kind: export
    model: ${tasks.model.outputs.model}   # or the folder of a model artifact of an earlier run
    data: {name: digits}                  # what every file is compared with the model on
    formats: [onnx, openvino]             # torch-export, aotinductor, litert, executorch
    batch_size: 1                         # leave it out for files that take any number of rows
    gates: {accuracy_drop: 0.001}
    resources: {cpus: 1}
"""

ExportFormat: TypeAlias = Literal[
    "torch-export", "aotinductor", "onnx", "openvino", "litert", "executorch"
]
FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)
# What TensorRT 8.5 and ATC take, and everything newer.
OPSET = 17


class ExportParams(Parameters):
    """Write a model of PyTorch as files for other runtimes, and prove that each is that model."""

    model: ArtifactPath = Field(description="the model artifact to export")
    data: MeasuredDataParams = Field(
        description="what each file, reloaded by its runtime, is compared with the model on"
    )
    formats: Annotated[list[ExportFormat], Field(min_length=1)] | None = Field(
        None,
        description="what to write, each an artifact of that name; by default what the target "
        "takes best",
    )
    batch_size: PositiveInt | None = Field(
        None,
        description="the one number of rows that the files take; by default any, but 1 for litert, "
        "executorch and targets of fixed shapes",
    )
    preprocessing: Literal["outside", "inside"] = Field(
        "outside",
        description="inside: the files take samples as they are, and standardise them themselves",
    )
    opset: Annotated[int, Field(ge=11)] | None = Field(
        None,
        description="the newest ONNX opset that the file may need; by default the target's, or 17, "
        "which TensorRT 8.5 and Ascend's ATC take",
    )
    target: Target | None = Field(
        None,
        description="a platform to export for, by name or by a file of your own: "
        "its format and constraints, its operators checked, and the command of its compiler beside "
        "the file",
    )
    gates: CompressionGatesParams | None = Field(None, description=f"{GATES}; of every file")

    @model_validator(mode="after")
    def _names_each_once(self) -> ExportParams:
        formats = self.formats or []
        twice = {name for name in formats if formats.count(name) > 1}
        if twice:
            raise ValueError(f"'formats' names {min(twice)} twice; expected it once")
        if not formats and self.target is None:
            raise ValueError("expected 'formats', or a 'target' that has one")
        if self.opset is not None and "onnx" not in self.asked_formats:
            raise ValueError("'opset' is of ONNX files; expected onnx among 'formats', or no opset")
        return self

    @model_validator(mode="after")
    def _suits_the_target(self) -> ExportParams:
        platform = self.platform
        if platform is None:
            return self
        from runner.edge import targets

        if not platform.takes_floats:
            raise ValueError(
                f"{platform.title} takes models quantized {platform.scheme}, and export keeps them "
                f"in floats; expected kind: quantize with target: {self.target}"
            )
        wrong = targets.conflicts(platform, formats=self.formats, batch_size=self.batch_size)
        wrong += targets.unmade(platform, formats=self.asked_formats)
        newest = platform.constraints.opset
        if newest is not None and self.opset is not None and self.opset > newest:
            wrong.append(f"{platform.title} takes no opset {self.opset}; expected {newest} or less")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    @property
    def platform(self) -> Platform | None:
        """The target, with all that is known of it."""
        return platform_of(self.target)

    @property
    def asked_formats(self) -> tuple[ExportFormat, ...]:
        """What to write, in the order in which it is asked for."""
        platform = self.platform
        if self.formats is not None or platform is None:
            return tuple(self.formats or ())
        return (platform.formats[0],)

    @property
    def asked_rows(self) -> int | None:
        """The number of rows that the files take; None for any."""
        platform = self.platform
        if self.batch_size is not None or platform is None:
            return self.batch_size
        rules = platform.constraints
        return rules.batch_size or (1 if rules.static_shapes else None)

    @property
    def asked_opset(self) -> int:
        """The newest opset that an ONNX file may need."""
        platform = self.platform
        newest = None if platform is None else platform.constraints.opset
        return self.opset or newest or OPSET


def made(params: Params) -> tuple[str, ...]:
    """The artifacts of a task with these parameters, as its spec has them."""
    listed = params.get("formats")
    if isinstance(listed, list):
        return tuple(name for name in FORMATS if name in listed)
    if params.get("target") is None:
        return ()
    platform = platform_in(params)
    # What a target makes that is a fault is not known.
    return FORMATS if platform is None else (platform.formats[0],)


def check_makers(params: Any, makers: Makers) -> None:
    """Raises ValueError where a task makes no model of PyTorch that can be changed."""
    check_models("export", makers, "model", otherwise="'exports' in the task that trains it")


def run(context: Context) -> Iterator[Yield]:
    """Writes the files, and measures each beside the model, as reloaded by its runtime."""
    from runner.kinds.exporting import run

    yield from run(context)


KIND = Kind(
    name="export",
    summary=str(ExportParams.__doc__),
    params=ExportParams,
    outputs=FORMATS,
    starter=STARTER,
    devices=("cpu",),
    run=run,
    made=made,
    check_makers=check_makers,
    makes_models=False,
)
