"""kind: quantize."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from runner.kinds import Kind, Makers, quantization
from runner.kinds.changeable import check_models
from runner.kinds.gates import GATES, CompressionGatesParams
from runner.kinds.schemes import (
    RUNTIMES,
    WEIGHT_ONLY,
    Granularity,
    Runtime,
    Scheme,
    choices,
    misfit,
)
from runner.kinds.stepping import SteppingParams, TorchSteppingParams
from runner.kinds.target import Target, platform_of
from runner.kinds.training import ArtifactPath, MeasuredDataParams
from runner.model import Resources
from runner.parameters import Fraction, Parameters, PositiveInt, only_with

if TYPE_CHECKING:
    from runner.edge.platforms import Platform

STARTER = """\
# Make a model compute in 8-bit integers. Run this file with:  runner submit FILE
name: quantize-digits
resources: {cpus: 1}                      # for every task
tasks:
  model:
    kind: train
    model: {name: convnet, args: {channels: [32, 32, 64, 64], hidden: 128}}
    data: {name: digits}
    max_epochs: 10
    optimizer: {name: adamw, learning_rate: 2.0e-3}
  int8:
    kind: quantize
    model: ${tasks.model.outputs.model}   # or the folder of a model artifact of an earlier run
    data: {name: digits}                  # calibrated with one part of it, measured on the other
    scheme: auto                          # or int8-static, int8-dynamic, int4-weight, ...
    runtime: auto                         # or onnx, openvino, litert, executorch, torch
    max_accuracy_drop: 0.01               # one point of 100
"""


class CalibrationParams(Parameters):
    """By which samples the ranges of activations are found; no labels are used."""

    samples: PositiveInt = Field(300, description="how many are drawn")
    data: MeasuredDataParams | None = Field(
        None, description="from which data; by default from that of the task which is not held out"
    )


class _QuantizedParams(Parameters):
    """Which model becomes what, and how it is measured."""

    model: ArtifactPath = Field(description="the model artifact to quantize")
    data: MeasuredDataParams = Field(
        description="what to measure on, and calibrate with: what the model was trained on"
    )
    scheme: Literal["auto", Scheme] = Field(
        "auto",
        description="int8-static: weights and activations in 8 bit, with ranges found by "
        "calibration; int8-dynamic: with ranges found at each call; int8-qat: as static, after a "
        "training that knows of it (max_epochs); int8-weight, int4-weight: weights alone; auto "
        "tries the first two and keeps the fastest",
    )
    runtime: Literal["auto", Runtime] = Field(
        "auto",
        description="what is to run it, and so whose quantizer makes it; auto tries all that go "
        "with the scheme and are installed, and keeps the fastest",
    )
    granularity: Granularity | None = Field(
        None,
        description="weights that share a scale: those of a channel, unless the runtime does "
        "better, of the whole tensor, or groups of a channel's (weight schemes)",
    )
    group_size: PositiveInt | None = Field(
        None, description="with granularity group: so many weights in a row; 128 unless told"
    )
    calibration: CalibrationParams = Field(default_factory=CalibrationParams)
    ignore: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list,
        description="layers to leave in float, by name, such as head or blocks.*.attention.*",
    )
    target: Target | None = Field(
        None,
        description="a platform to quantize for, by name or by a file of your own: "
        "its runtime, scheme and shapes, its operators checked, and the command of its compiler "
        "beside the file",
    )
    max_accuracy_drop: Fraction = Field(
        0.01,
        description="what may be lost on the held-out data; where more is, layers go back to "
        "float, the most sensitive first, until it is met",
    )
    min_cosine: Fraction | None = Field(
        None,
        description="for a model that gives embeddings, in place of max_accuracy_drop: the mean "
        "cosine to those of the model that it is made of; 0.99 unless told",
    )


class QuantizeParams(TorchSteppingParams, SteppingParams, _QuantizedParams):
    """Make a trained model compute in, or store its weights in, fewer bits, and prove what came."""

    gates: CompressionGatesParams | None = Field(None, description=GATES)

    @property
    def platform(self) -> Platform | None:
        """The target, with all that is known of it."""
        return platform_of(self.target)

    @property
    def asked_scheme(self) -> Literal["auto", Scheme]:
        """That of the spec or, where it leaves this open, of the target."""
        platform = self.platform
        is_open = self.scheme == "auto" and platform is not None
        return (platform.scheme or "auto") if platform is not None and is_open else self.scheme

    @property
    def asked_runtime(self) -> Literal["auto", Runtime]:
        """That of the spec or, where it leaves this open, the target's first that quantizes."""
        platform = self.platform
        if platform is None or self.runtime != "auto":
            return self.runtime
        return next((each for each in RUNTIMES if each == platform.formats[0]), "auto")

    @model_validator(mode="after")
    def _suits_the_target(self) -> QuantizeParams:
        platform = self.platform
        if platform is None:
            return self
        from runner.edge import targets

        if platform.precision is not None and platform.scheme is None:
            raise ValueError(
                f"{platform.title} takes floats, of which its compiler makes {platform.precision}; "
                f"expected kind: export with target: {self.target}"
            )
        formats = None if self.runtime == "auto" else [self.runtime]
        wrong = targets.conflicts(platform, formats=formats, scheme=self.scheme)
        if self.asked_runtime not in platform.formats:
            wrong.append(
                f"{platform.title} takes {' or '.join(platform.formats)}; expected one of these "
                "as runtime"
            )
        wrong += targets.unmade(platform, formats=[self.asked_runtime], scheme=self.asked_scheme)
        if wrong:
            raise ValueError("; ".join(dict.fromkeys(wrong)))
        return self

    @model_validator(mode="after")
    def _can_be_had(self) -> QuantizeParams:
        wrong = misfit(self.asked_scheme, self.asked_runtime)
        if wrong is not None:
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _one_size(self) -> QuantizeParams:
        if self.group_size is not None and self.granularity != "group":
            raise ValueError("'group_size' goes with 'granularity: group'; expected both")
        is_of_weights = self.scheme in WEIGHT_ONLY
        if self.granularity == "group" and not is_of_weights:
            raise ValueError(
                f"'granularity: group' goes with a scheme of {' or '.join(WEIGHT_ONLY)}, and the "
                f"scheme is {self.scheme}; expected channel or tensor"
            )
        if self.granularity == "tensor" and is_of_weights:
            raise ValueError(
                f"one scale for a whole tensor is too coarse for {self.scheme} to be offered; "
                "expected granularity channel or group"
            )
        return self

    @model_validator(mode="after")
    def _trains_if_asked(self) -> QuantizeParams:
        is_trained = self.scheme == "int8-qat"
        if is_trained and (self.max_epochs is None) == (self.max_steps is None):
            raise ValueError(
                "int8-qat trains; expected exactly one of 'max_epochs' and 'max_steps'"
            )
        fields = sorted({*TorchSteppingParams.model_fields, *SteppingParams.model_fields})
        only_with(self, "scheme: int8-qat", is_trained, *fields)
        if self.precision not in ("auto", "fp32"):
            raise ValueError(f"int8-qat trains in fp32, and precision is {self.precision}")
        return self


def resources(params: QuantizeParams, asked: Resources) -> Resources:
    """What such a task asks for.

    Raises ValueError for fp8 where there is to be no GPU, and for workers that have nothing to do.
    """
    if params.scheme == "fp8" and asked.accelerators[0] is None:
        raise ValueError(
            "scheme fp8 is computed by GPUs alone (H100, L40S, MI300 and newer); expected "
            "accelerators: H100:1 or the like"
        )
    most = len(choices(params.asked_scheme, params.asked_runtime, task="embedding"))
    if asked.num_workers > most:
        raise ValueError(
            f"num_workers {asked.num_workers}: each tries its share of schemes and runtimes, and "
            f"there {'is one' if most == 1 else f'are at most {most}'} to try; expected "
            + (
                "num_workers 1, or a scheme or runtime that nothing fixes (auto, and no target)"
                if most == 1
                else f"num_workers {most} or fewer"
            )
        )
    return asked


def check_makers(params: Any, makers: Makers) -> None:
    """Raises ValueError where a task makes no model of PyTorch that can be changed."""
    check_models(
        "quantize", makers, "model", otherwise="'exports: [litert-int8]' in the task that trains it"
    )


KIND = Kind(
    name="quantize",
    summary=str(QuantizeParams.__doc__),
    params=QuantizeParams,
    outputs=("model",),
    starter=STARTER,
    devices=("cpu", "gpu"),
    run=quantization.run,
    is_gang=True,
    resources=resources,
    check_makers=check_makers,
    makes_models=False,
)
