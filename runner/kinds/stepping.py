"""The parameters of every kind that steps an optimizer: which one, how far, on how many samples."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from runner.kinds.techniques import AugmentParams
from runner.parameters import MAX_COUNT, Parameters, PositiveInt


class OptimizerParams(Parameters):
    """The optimizer, with PyTorch's names for its settings."""

    name: Literal["adamw", "adam", "sgd", "adafactor", "muon"] = Field(
        "adamw", description="which optimizer; muon for matrices, with adamw for the rest"
    )
    learning_rate: Annotated[float, Field(gt=0.0)] = Field(1e-3, description="peak learning rate")
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(
        0.01, description="decay of weight matrices; biases and norms are left alone"
    )
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(0.9, description="for sgd")
    betas: tuple[
        Annotated[float, Field(ge=0.0, lt=1.0)], Annotated[float, Field(ge=0.0, lt=1.0)]
    ] = Field((0.9, 0.999), description="for adam and adamw")


class SchedulerParams(Parameters):
    """How the learning rate changes over the run, after a linear warm-up."""

    name: Literal["constant", "linear", "cosine", "one-cycle"] = Field(
        "constant",
        description="shape after the warm-up; linear and cosine end at zero; one-cycle warms up "
        "over three tenths of the steps unless told",
    )
    warmup_steps: Annotated[int, Field(ge=0, le=MAX_COUNT)] = Field(
        0, description="steps from zero to the peak"
    )


class SteppingParams(Parameters):
    """How a model is trained, in whatever framework."""

    optimizer: OptimizerParams = Field(default_factory=OptimizerParams)
    lr_scheduler: SchedulerParams = Field(default_factory=SchedulerParams)
    max_epochs: PositiveInt | None = Field(None, description="passes over the training data")
    max_steps: PositiveInt | None = Field(None, description="optimizer steps, instead of epochs")

    @model_validator(mode="after")
    def _warms_up_in_time(self) -> SteppingParams:
        if self.max_steps is not None and self.lr_scheduler.warmup_steps > self.max_steps:
            raise ValueError(
                f"expected max_steps of at least warmup_steps, which is "
                f"{self.lr_scheduler.warmup_steps}"
            )
        return self


class TorchSteppingParams(Parameters):
    """How a step of a training with PyTorch is made, on one device or many."""

    global_batch_size: PositiveInt | None = Field(
        None, description="samples that one optimizer step sees; 64 unless the others give it"
    )
    max_grad_norm: Annotated[float, Field(gt=0.0)] | None = Field(
        None, description="clip the gradient's norm to this"
    )
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0, description="weight of the uniform distribution in the target"
    )
    precision: Literal["auto", "fp32", "bf16-mixed", "fp16-mixed", "bf16-true", "fp8"] = Field(
        "auto",
        description="numbers to compute in; auto: bf16-mixed on a GPU that has it, or fp32; fp8: "
        "wide linear layers in it, on H100 and the like, which pays with compile: true only",
    )
    augment: AugmentParams | None = Field(
        None, description="change the images that are trained on, anew in every epoch"
    )
    deterministic: bool = Field(
        False,
        description="the same bits each time on a GPU too, with slower kernels; an operation that "
        "has none ends the task",
    )
