"""What goes with distillation by Keras and what does not, and whose models a task takes."""

from __future__ import annotations

import pytest

from runner.kinds import find
from runner.model import Accelerator, Inventory, Job, Node
from runner.plan import place
from runner.spec import load
from tests.spec.refusing import refused

# Ends in the student's map; the first free line is 14.
STUDENT = """\
name: job
tasks:
  teacher:
    kind: keras
    model: {name: convnet}
    data: {name: digits}
    max_epochs: 1
  a:
    kind: distill
    framework: keras
    teacher: ${tasks.teacher.outputs.model}
    model: {name: mlp}
    data: {name: digits}
    max_epochs: 1
"""
WITH_TORCH = STUDENT.replace("kind: keras", "kind: train").replace("    framework: keras\n", "")


def job(text: str) -> Job:
    return load(text.encode(), file="job.yaml", environment={})


def test_a_process_loads_what_the_framework_says() -> None:
    for text, framework in ((STUDENT, "tensorflow"), (WITH_TORCH, "torch")):
        (student,) = [task for task in job(text).tasks if task.name == "a"]
        kind = find("distill")
        assert kind.framework_of(student.params) == framework
        assert (kind.environment(student.params) == {}) == (framework == "torch")


def test_replicas_and_passes_need_not_divide_the_batch_and_the_plan_has_no_batches() -> None:
    text = STUDENT + "    global_batch_size: 100\n    gradient_accumulation_steps: 3\n"
    text += "    strategy: mirrored\n    replicas: 4\n"
    here = Node(name="here", id="id", cpus=2, memory_bytes=4 * 10**9)
    plan = place(job(text), Inventory(source="by hand", nodes=(here,)))
    assert {each.batches for each in plan.tasks} == {None}


def test_a_fallback_adds_a_cpu_to_what_will_do() -> None:
    text = STUDENT + "    strategy: tpu\n    fallback: [one_device]\n"
    text += "    resources: {accelerators: TPU-V5E:8}\n"
    assert job(text).tasks[1].resources.accelerators == (
        Accelerator(family="tpu", type="TPU-V5E", count=8),
        None,
    )


@pytest.mark.parametrize(
    ("more", "where", "message"),
    [
        ("    ema: {decay: 0.9}\n", "15:",
         "'ema' is for PyTorch, and the student is of Keras; expected no 'ema'"),
        ("    compile: true\n", "15:", "'compile' is for PyTorch"),
        ("    per_device_batch_size: 8\n", "15:", "'per_device_batch_size' is for PyTorch"),
        ("    augment: {flip: true}\n", "15:", "'augment' is for PyTorch"),
        ("    parallelism: {tp: 2}\n", "15:", "'parallelism' is for PyTorch"),
        ("    decoupled: {}\n", "15:", "'decoupled' is for PyTorch"),
        ("    cache_teacher: disk\n", "15:", "'cache_teacher: disk' is for PyTorch"),
        ("    optimizer: {name: muon}\n", "15:", "expected one of adamw, adam, sgd"),
        ("    precision: fp16-mixed\n", "15:", "expected one of auto, fp32, bf16-mixed"),
        ("    strategy: one_device\n    replicas: 4\n", "", "'replicas' are for mirrored"),
        ("    resources: {accelerators: gpu:1}\n", "15:", "Keras does not run on gpu:1"),
        ("    resources: {num_workers: 2}\n", "15:", "trained by one worker"),
        ("    strategy: tpu\n", "15:", "no TPU is asked for; expected accelerators: tpu:1"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_keras_is_refused(more: str, where: str, message: str) -> None:
    (fault,) = refused(STUDENT + more)
    assert fault.startswith(where)
    assert message in fault


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            "    strategy: mirrored\n",
            "'strategy' is for Keras; expected framework: keras, or no 'strategy'",
        ),
        ("    replicas: 2\n", "'replicas' is for Keras"),
        ("    resources: {accelerators: tpu:1}\n", "PyTorch does not run on tpu:1"),
    ],
)
def test_what_goes_with_keras_alone_is_refused_without_it(more: str, message: str) -> None:
    (fault,) = refused(WITH_TORCH + more)
    assert fault.startswith("14:")
    assert message in fault


def test_a_network_that_keras_has_not_is_refused() -> None:
    (fault,) = refused(STUDENT.replace("name: mlp", "name: resnet"))
    assert "expected one of mlp, convnet, vit, gpt" in fault


def test_a_teacher_of_the_other_framework_is_refused() -> None:
    (fault,) = refused(STUDENT.replace("kind: keras", "kind: train"))
    assert fault.startswith("11:")
    assert "'teacher' is of PyTorch, and the student of Keras; expected one of Keras" in fault
    with_keras = WITH_TORCH.replace("kind: train", "kind: keras")
    assert refused(with_keras) == []
    (fault,) = refused(with_keras + "    features: [{student: '1', teacher: '1'}]\n")
    assert fault.startswith("10:")
    assert "'teacher' is of Keras, and the student of PyTorch; expected no 'features'" in fault


def test_a_student_of_keras_teaches_in_its_turn() -> None:
    third = STUDENT[STUDENT.index("  a:") :].replace("  a:", "  b:").replace("teacher.out", "a.out")
    assert [task.name for task in job(STUDENT + third).tasks] == ["teacher", "a", "b"]


CHECK = """\
  check:
    kind: evaluate
    model: ${tasks.NAME.outputs.model}
    data: {name: digits}
    resources: {accelerators: gpu:1}
"""


def test_a_keras_model_is_measured_on_a_cpu() -> None:
    for name in ("teacher", "a"):
        (fault,) = refused(STUDENT + CHECK.replace("NAME", name))
        assert fault.startswith("19:")
        assert "gpu:1 is of no use to Keras here" in fault
        assert "expected no accelerators" in fault
    assert refused(WITH_TORCH + CHECK.replace("NAME", "a")) == []
