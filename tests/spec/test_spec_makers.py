"""What a task can't take from another is a fault of the spec, and not found once that is done."""

from __future__ import annotations

import pytest

from runner.errors import SpecError
from runner.model import Job
from runner.spec import load

MODEL = """\
name: job
tasks:
  model:
    kind: train
    model: {name: mlp}
    data: {name: digits}
    max_epochs: 1
"""
MADE = {
    "quantize": ("    kind: quantize\n", "model"),
    "fuse": ("    kind: fuse\n", "model"),
    "export": ("    kind: export\n    formats: [onnx]\n", "onnx"),
}
TAKES = {
    "quantize": "",
    "fuse": "",
    "export": "    formats: [openvino]\n",
    "prune": "",
}


def job(text: str) -> Job:
    return load(text.encode(), file="job.yaml", environment={})


def spec(maker: str, taker: str, more: str = "") -> str:
    made, output = MADE[maker]
    data = "    data: {name: digits}\n"
    return (
        f"{MODEL}  made:\n{made}    model: ${{tasks.model.outputs.model}}\n{data}"
        f"  taken:\n    kind: {taker}\n    model: ${{tasks.made.outputs.{output}}}\n{data}{more}"
    )


@pytest.mark.parametrize("maker", MADE)
@pytest.mark.parametrize("taker", TAKES)
def test_what_is_made_for_a_runtime_can_not_be_changed(maker: str, taker: str) -> None:
    with pytest.raises(SpecError) as caught:
        job(spec(maker, taker, TAKES[taker]))
    (fault,) = caught.value.faults
    assert fault.message == (
        f"taken: 'model' is what {maker} makes of a model for its runtime, and {taker} takes "
        "models that can still be changed; expected the one that it is made of"
    )
    assert fault.source.startswith("    model: ${tasks.made.")


@pytest.mark.parametrize("maker", MADE)
def test_it_can_be_measured_on_a_cpu(maker: str) -> None:
    assert job(spec(maker, "evaluate")).name == "job"
    with pytest.raises(SpecError, match=f"gpu:1 is of no use to what {maker} makes here"):
        job(spec(maker, "evaluate", "    resources: {accelerators: gpu:1}\n"))


def test_any_of_them_can_teach_and_none_be_looked_into() -> None:
    made = spec("quantize", "evaluate").partition("  taken:")[0]
    student = (
        "  student:\n    kind: distill\n    model: {name: mlp}\n    data: {name: digits}\n"
        "    max_epochs: 1\n"
    )
    both = '    teacher: ["${tasks.model.outputs.model}", "${tasks.made.outputs.model}"]\n'
    assert job(made + student + both).tasks[-1].name == "student"
    looks = "    teacher: ${tasks.made.outputs.model}\n    features: [{student: a, teacher: b}]\n"
    with pytest.raises(SpecError, match="'teacher' is what quantize makes of a model of PyTorch"):
        job(made + student + looks)
