"""The parameters of kind keras, and what they need of the nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from runner.kinds import Framework
from runner.kinds.keras_exports import ExportsParams, check_exports
from runner.kinds.stepping import OptimizerParams
from runner.kinds.training import (
    CheckpointParams,
    Factory,
    FittingParams,
    ModelParams,
)
from runner.model import Params, Resources
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


class StrategyParams(Parameters):
    """Under which of tf.distribute's strategies a Keras model is trained."""

    strategy: Literal["auto", "tpu", "multi_worker", "mirrored", "one_device"] = Field(
        "auto",
        description="tf.distribute's: tpu; multi_worker, a copy in each of num_workers processes; "
        "mirrored, one on each of several replicas in a process; one_device; auto: tpu on a node "
        "with one, else multi_worker for several workers, mirrored for several replicas",
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
    def _goes_together(self) -> StrategyParams:
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


class KerasParams(ExportsParams, StrategyParams, FittingParams):
    """Train a Keras model by TensorFlow or JAX, on a TPU or without one; measure what was kept."""

    model: KerasModelParams = Field(description="what to train")
    backend: Literal["tensorflow", "jax"] = Field(
        "tensorflow",
        description="what Keras computes with; jax: the same model, in a process without "
        "TensorFlow, by keras.distribution.DataParallel over the same devices; for the newest TPUs",
    )
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

    @model_validator(mode="after")
    def _reads_whole(self) -> KerasParams:
        if self.data.stream:
            raise ValueError("'stream' goes with kind train; expected no 'stream'")
        return self

    @model_validator(mode="after")
    def _goes_with_the_backend(self) -> KerasParams:
        if self.backend == "tensorflow":
            return self
        if self.strategy == "multi_worker":
            raise ValueError(
                "strategy: multi_worker is TensorFlow's; with JAX expected tpu, mirrored, "
                "one_device or auto"
            )
        if self.tpu is not None:
            raise ValueError(
                "'tpu' names another machine's, and JAX drives that of its own; expected no 'tpu'"
            )
        if self.exports:
            raise ValueError(
                "'exports' are made by TensorFlow, and this is JAX; expected no 'exports'"
            )
        return self

    @model_validator(mode="after")
    def _can_be_exported(self) -> KerasParams:
        check_exports(self.exports, self.model.name)
        return self


def framework(params: Params) -> Framework:
    """What the process of a task of kind keras loads."""
    return "jax" if params.get("backend") == "jax" else "tensorflow"


def resources(params: Any, asked: Resources) -> Resources:
    """What such a task asks of the nodes: a CPU as the last choice, where it has a fallback.

    Raises ValueError where the strategy and the devices asked for don't go together.
    """
    devices = [choice for choice in asked.accelerators if choice is not None]
    has_cpu = None in asked.accelerators
    if getattr(params, "backend", "tensorflow") == "jax":
        asked = on_one_worker(asked, "with JAX one worker drives all devices")
    _check_workers(params, asked)
    if params.strategy in ("mirrored", "multi_worker", "one_device") and devices:
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


def on_one_worker(asked: Resources, why: str) -> Resources:
    """The same for one worker. Raises ValueError, with ``why``, where several are asked for."""
    if asked.num_workers > 1 or (asked.num_nodes or 1) > 1:
        raise ValueError(f"num_workers, num_nodes: {why}; expected neither")
    # Of slices with as many chips, one with a single host.
    return asked if asked.topology is None else replace(asked, num_nodes=1)


def _check_workers(params: Any, asked: Resources) -> None:
    """Raises ValueError where the strategy does not go with the number of workers."""
    workers = f"num_workers: {asked.num_workers}"
    if params.strategy == "multi_worker" and asked.num_workers == 1:
        raise ValueError(
            "strategy: multi_worker, and there is one worker; expected num_workers: 2 or more "
            "under 'resources', or another strategy"
        )
    if asked.num_workers == 1:
        return
    if params.strategy in ("mirrored", "one_device"):
        raise ValueError(
            f"{workers} with strategy {params.strategy}, which is of one worker; expected "
            "strategy: multi_worker, or one worker"
        )
    if params.replicas is not None:
        raise ValueError(
            f"{workers} with 'replicas', which share one worker's CPU; expected no 'replicas', or "
            "one worker"
        )
    if params.tpu is not None:
        raise ValueError(f"{workers} with 'tpu', which one worker connects to; expected one worker")
