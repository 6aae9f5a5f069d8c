"""kind: fuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from runner.kinds import Kind, Makers, Yield
from runner.kinds.changeable import check_models
from runner.kinds.gates import GATES, CompressionGatesParams
from runner.kinds.training import ArtifactPath, MeasuredDataParams
from runner.model import Context
from runner.parameters import Parameters, PositiveInt

STARTER = """\
# A trained model with its layers fused, and compiled. Run this file with:  runner submit FILE
name: fuse-digits
tasks:
  model:
    kind: train
    model: {name: convnet, args: {channels: [16, 32], hidden: 64}}
    data: {name: digits}
    max_epochs: 10
  fused:
    kind: fuse
    model: ${tasks.model.outputs.model}   # or the folder of a model artifact of an earlier run
    data: {name: digits}                  # what the fused model is compared with the model on
    compiler: onnxruntime                 # or openvino, or aotinductor (machine code, by g++)
    resources: {cpus: 1}
"""


class FuseParams(Parameters):
    """Fuse what a model computes one after the other, compile it, and prove it is that model."""

    model: ArtifactPath = Field(description="the model artifact to fuse")
    data: MeasuredDataParams = Field(
        description="what the fused model, reloaded by its runtime, is compared with the model on"
    )
    compiler: Literal["onnxruntime", "openvino", "aotinductor"] = Field(
        "onnxruntime",
        description="what fuses the rest, after batch norms were folded and attention became one "
        "operator: the graph of ONNX Runtime, that of OpenVINO, or Inductor with frozen weights, "
        "ahead of time, into a package of machine code for processors like this one",
    )
    batch_size: PositiveInt | None = Field(
        None, description="the one number of rows that the fused model takes; by default any"
    )
    gates: CompressionGatesParams | None = Field(None, description=GATES)


def check_makers(params: Any, makers: Makers) -> None:
    """Raises ValueError where a task makes no model of PyTorch that can be changed."""
    check_models("fuse", makers, "model")


def run(context: Context) -> Iterator[Yield]:
    """Fuses; yields the artifact ``model``, its figures, and those of what it was made from."""
    from runner.kinds.fusing import run

    yield from run(context)


KIND = Kind(
    name="fuse",
    summary=str(FuseParams.__doc__),
    params=FuseParams,
    outputs=("model",),
    starter=STARTER,
    devices=("cpu",),
    run=run,
    check_makers=check_makers,
    makes_models=False,
)
