"""The parameters of kind keras, and what they need of the nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from runner.kinds.training import (
    CheckpointParams,
    Factory,
    FittingParams,
    ModelParams,
    OptimizerParams,
)
from runner.model import Resources
from runner.parameters import Parameters, PositiveInt


class KerasModelParams(ModelParams):
    """Which model to build: a built-in by name, or your own function by factory."""

    name: Literal["mlp", "convnet", "vit", "gpt"] | None = Field(
        None, description="a built-in architecture, the same network as for kind train"
    )
    factory: Factory | None = Field(
        None,
        description="your own function, as package.module:function; gets args, and input_shape "
        "(images with channels last) and num_classes where it takes them; returns a keras.Model "
        "that gives logits",
    )


class KerasOptimizerParams(OptimizerParams):
    """The optimizer, with the settings that it has for PyTorch's tasks."""

    name: Literal["adamw", "adam", "sgd"] = Field("adamw", description="which optimizer")


class TpuParams(Parameters):
    """Which TPU, where it is not that of the node: one of Google Cloud's, by name, or grpc://."""

    name: Annotated[str, Field(min_length=1)] = Field(
        "local", description="its name, a grpc:// address, or local for the node's own"
    )
    zone: str | None = Field(None, description="the zone of a TPU by name")
    project: str | None = Field(None, description="the project of a TPU by name")


class KerasParams(FittingParams):
    """Train a Keras model with TensorFlow, on a TPU or without one, and measure what was kept."""

    model: KerasModelParams = Field(description="what to train")
    optimizer: KerasOptimizerParams = Field(default_factory=KerasOptimizerParams)
    global_batch_size: PositiveInt = Field(
        64, description="samples that one optimizer step sees, shared out among the replicas"
    )
    gradient_accumulation_steps: PositiveInt = Field(
        1, description="forward passes for one optimizer step"
    )
    max_grad_norm: Annotated[float, Field(gt=0.0)] | None = Field(
        None, description="clip the gradient's norm to this"
    )
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0, description="weight of the uniform distribution in the target"
    )
    precision: Literal["auto", "fp32", "bf16-mixed"] = Field(
        "auto", description="numbers to compute in; auto: bf16-mixed on a TPU, else fp32"
    )
    checkpoint: CheckpointParams | None = Field(
        None, description="what a lost or resumed attempt goes on from; without, it starts anew"
    )
    strategy: Literal["auto", "tpu", "mirrored", "one_device"] = Field(
        "auto",
        description="tf.distribute's: tpu; mirrored, a copy on each of several replicas; "
        "one_device; auto: tpu on a node with one, else mirrored for several replicas",
    )
    fallback: list[Literal["mirrored", "one_device"]] = Field(
        default_factory=list,
        description="what to run under instead of tpu where there is none, in order; the report's "
        "first line says so",
    )
    replicas: Annotated[int, Field(ge=2, le=64)] | None = Field(
        None, description="copies that mirrored makes on one CPU, which tests replicas and is slow"
    )
    tpu: TpuParams | None = Field(None, description="a TPU that is not the node's own")

    @model_validator(mode="after")
    def _reads_whole(self) -> KerasParams:
        if self.data.stream:
            raise ValueError("'stream' goes with kind train; expected no 'stream'")
        return self

    @model_validator(mode="after")
    def _goes_together(self) -> KerasParams:
        if self.fallback and self.strategy != "tpu":
            raise ValueError(
                f"'fallback' takes the place of a TPU, and the strategy is {self.strategy}; "
                "expected no 'fallback', or strategy: tpu"
            )
        if self.tpu is not None and self.strategy not in ("tpu", "auto"):
            raise ValueError(
                f"'tpu' names a TPU, and the strategy is {self.strategy}; expected strategy: tpu"
            )
        can_mirror = self.strategy in ("auto", "mirrored") or "mirrored" in self.fallback
        if self.replicas is not None and not can_mirror:
            raise ValueError(
                "'replicas' are for mirrored, which is neither the strategy nor a fallback; "
                "expected no 'replicas', or strategy: mirrored"
            )
        return self


def resources(params: Any, asked: Resources) -> Resources:
    """What such a task asks of the nodes: a CPU as the last choice, where it has a fallback.

    Raises ValueError where the strategy and the devices asked for don't go together.
    """
    devices = [choice for choice in asked.accelerators if choice is not None]
    has_cpu = None in asked.accelerators
    if params.strategy in ("mirrored", "one_device") and devices:
        raise ValueError(
            f"accelerators: {devices[0]} would be left unused by strategy {params.strategy}; "
            "expected no accelerators, or strategy: tpu"
        )
    if params.tpu is not None:
        if devices:
            raise ValueError(
                f"accelerators: {devices[0]} is of the node, and 'tpu' names another; expected one "
                "of the two"
            )
        return asked
    if params.strategy == "tpu" and not devices:
        raise ValueError(
            "strategy: tpu, and no TPU is asked for; expected accelerators: tpu:1 or such under "
            "'resources', or 'tpu' with the name of one"
        )
    if params.fallback and not devices:
        raise ValueError(
            "fallback takes the place of a TPU, and none is asked for; expected accelerators: "
            "tpu:1 or such under 'resources', or no 'fallback'"
        )
    if params.strategy == "tpu" and has_cpu and not params.fallback:
        raise ValueError(
            "accelerators: on a cpu there is no TPU, and strategy tpu has no fallback; expected "
            "fallback: [one_device], or no cpu among the accelerators"
        )
    if params.fallback and not has_cpu:
        return replace(asked, accelerators=(*asked.accelerators, None))
    return asked
