"""A run for platforms that a file of the user's describes, which is gone once it is submitted."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import onnx

from runner.edge.opset import opset_of
from tests.conftest import Command, wait_for
from tests.runs.real_runs import Write, report

CHIPS = """\
platforms:
  photonic-1:
    title: A photonic mesh
    device: npu
    status: imagined
    tops: {int8: 400}
    formats: [onnx]
    precision: int8
    scheme: int8-static
    operators: {Reshape: 14, Gemm: 13, Relu: null, QuantizeLinear: 13, DequantizeLinear: 13}
    constraints: {static_shapes: true, batch_size: 7, opset: 15, activations: symmetric}
    compiler:
      name: photonc
      commands: ["photonc {file} -o {stem}.phot"]
      makes: "{stem}.phot"
      runs_on: nowhere yet
  photonic-2:
    title: One without linear layers
    device: npu
    status: imagined
    tops: {fp32: 400}
    formats: [onnx]
    operators: {Reshape: null, Relu: null, Gemm: 11}
"""
JOB = """\
name: own
resources: {cpus: 0.5}
retry: {max_restarts: 0}
tasks:
  model:
    kind: train
    model: {name: mlp, args: {hidden: [16]}}
    data: {name: digits}
    max_steps: 2000
    checkpoint: {every_steps: 100}
  int8: &files
    kind: quantize
    model: ${tasks.model.outputs.model}
    data: {name: digits}
    target: chips/mine.yaml:photonic-1
  floats:
    <<: *files
    kind: export
  refused:
    <<: *files
    kind: export
    target: ./chips/mine.yaml:photonic-2
"""


def files(command: Command, task: str, name: str) -> Path:
    (found,) = (command.folder / "runs").glob(f"*/{task}/*/{name}")
    return found


def test_a_run_keeps_what_the_file_said_and_carries_it_out(warm: Command, spec: Write) -> None:
    (warm.folder / "chips").mkdir()
    file = warm.folder / "chips" / "mine.yaml"
    file.write_text(CHIPS)
    with warm.start("submit", spec(JOB)) as process:
        wait_for(lambda: list((warm.folder / "runs").glob("*/model/1/checkpoints/step-*")))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    file.unlink()
    resumed = warm("resume")
    assert resumed.code == 1, resumed.err
    tasks = report(warm)["tasks"]
    assert [tasks[name]["status"] for name in ("model", "int8", "floats", "refused")] == [
        "finished", "finished", "finished", "failed",
    ]  # fmt: skip
    for task, name in (("int8", "model"), ("floats", "onnx")):
        folder = files(warm, task, name)
        made = onnx.load(folder / "model.onnx")
        (taken,) = made.graph.input
        assert [size.dim_value for size in taken.type.tensor_type.shape.dim] == [7, 1, 8, 8]
        assert opset_of(made) == 15
        script = folder / "compile.sh"
        assert "photonc model.onnx -o model.phot" in script.read_text()
        assert script.stat().st_mode & stat.S_IXUSR and os.access(script, os.X_OK)
        assert "A photonic mesh" in (folder / "README.md").read_text()
    made = onnx.load(files(warm, "int8", "model") / "model.onnx")
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in made.graph.initializer}
    zeros = [constants[n.input[2]] for n in made.graph.node if n.op_type == "QuantizeLinear"]
    assert zeros and not any(zero.any() for zero in zeros)
    error = tasks["refused"]["error"]
    assert (
        "One without linear layers lacks operators of this model: Gemm in version 13"
        in (error["message"])
    )
