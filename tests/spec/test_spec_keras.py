"""What can be wrong with a Keras task, told before anything starts."""

from __future__ import annotations

import pytest

from runner.kinds import PRELOAD, find
from runner.model import Accelerator, Job
from runner.spec import load
from tests.spec.refusing import refused

TASK = """\
name: job
tasks:
  a:
    kind: keras
    model: {name: mlp}
    data: {name: digits}
    max_epochs: 1
"""
ON_TPU = TASK + "    strategy: tpu\n    resources: {accelerators: TPU-V5E:8}\n"


def job(text: str) -> Job:
    return load(text.encode(), file="job.yaml", environment={})


def test_a_task_on_a_cpu_asks_for_no_more() -> None:
    assert job(TASK).tasks[0].resources.accelerators == (None,)


def test_without_a_fallback_a_tpu_is_all_that_will_do() -> None:
    assert job(ON_TPU).tasks[0].resources.accelerators == (
        Accelerator(family="tpu", type="TPU-V5E", count=8),
    )


@pytest.mark.parametrize("accelerators", ["TPU-V5E:8", "[TPU-V5E:8, cpu]"])
def test_with_a_fallback_a_cpu_will_do_as_the_last_choice(accelerators: str) -> None:
    text = ON_TPU.replace("TPU-V5E:8", accelerators) + "    fallback: [one_device]\n"
    resources = job(text).tasks[0].resources
    assert [each and each.family for each in resources.accelerators] == ["tpu", None]


@pytest.mark.parametrize(
    ("more", "where", "message"),
    [
        ("    strategy: tpu\n", "8:", "no TPU is asked for; expected accelerators: tpu:1"),
        (
            "    strategy: tpu\n    resources: {accelerators: [tpu:1, cpu]}\n",
            "8:",
            "strategy tpu has no fallback; expected fallback: [one_device]",
        ),
        (
            "    strategy: tpu\n    fallback: [one_device]\n",
            "8:",
            "no TPU is asked for",
        ),
        (
            "    strategy: mirrored\n    resources: {accelerators: tpu:4}\n",
            "8:",
            "tpu:4 would be left unused by strategy mirrored",
        ),
        (
            "    strategy: tpu\n    tpu: {name: mine}\n    resources: {accelerators: tpu:4}\n",
            "9:",
            "'tpu' names another",
        ),
        ("    fallback: [one_device]\n", "", "'fallback' takes the place of a TPU"),
        ("    strategy: one_device\n    tpu: {name: mine}\n", "", "'tpu' names a TPU"),
        ("    strategy: one_device\n    replicas: 4\n", "", "'replicas' are for mirrored"),
        ("    replicas: 1\n", "8:", "expected at least 2"),
        ("    strategy: gpu\n", "8:", "strategy"),
        ("    optimizer: {name: muon}\n", "8:", "expected one of adamw, adam, sgd"),
        ("    precision: fp16-mixed\n", "8:", "precision"),
        ("    resources: {accelerators: gpu:1}\n", "8:", "expected cpu or tpu"),
        ("    strategy: multi_worker\n", "8:", "expected num_workers: 2 or more"),
        (
            "    strategy: mirrored\n    resources: {num_workers: 2}\n",
            "8:",
            "num_workers: 2 with strategy mirrored, which is of one worker; expected strategy: "
            "multi_worker",
        ),
        (
            "    strategy: multi_worker\n    resources: {num_workers: 4, accelerators: TPU-V5E:16, "
            "accelerator_args: {topology: 4x4}}\n",
            "8:",
            "TPU-V5E:16 would be left unused by strategy multi_worker",
        ),
        (
            "    replicas: 2\n    resources: {num_workers: 2}\n",
            "8:",
            "num_workers: 2 with 'replicas', which share one worker's CPU",
        ),
        (
            "    tpu: {name: mine}\n    resources: {num_workers: 2}\n",
            "8:",
            "num_workers: 2 with 'tpu', which one worker connects to",
        ),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(more: str, where: str, message: str) -> None:
    (fault,) = refused(TASK + more)
    assert fault.startswith(where)
    assert message in fault


@pytest.mark.parametrize("workers", ["2", "{min: 1, max: 4}"])
@pytest.mark.parametrize("strategy", ["auto", "multi_worker"])
def test_several_workers_share_a_task(strategy: str, workers: str) -> None:
    task = TASK + f"    strategy: {strategy}\n    resources: {{num_workers: {workers}}}\n"
    resources = job(task).tasks[0].resources
    assert resources.num_workers == (2 if workers == "2" else 4)
    assert resources.accelerators == (None,)


def test_models_and_data_are_checked_as_for_train() -> None:
    assert "the model gpt takes text" in refused(TASK.replace("name: mlp", "name: gpt"))[0]
    assert "resnet" in refused(TASK.replace("name: mlp", "name: resnet"))[0]
    assert "exactly one of 'max_epochs' and 'max_steps'" in refused(TASK + "    max_steps: 1\n")[0]
    (fault,) = refused(TASK.replace("{name: digits}", "{path: a.parquet, stream: true}"))
    assert "'stream' goes with kind train" in fault


JAX = TASK + "    backend: jax\n"


def test_a_process_loads_what_the_backend_says() -> None:
    kind = find("keras")
    for text, framework in ((TASK, "tensorflow"), (JAX, "jax")):
        (task,) = job(text).tasks
        assert kind.framework_of(task.params) == framework
        assert kind.environment(task.params) == {PRELOAD: framework}


@pytest.mark.parametrize(
    ("more", "where", "message"),
    [
        ("    strategy: multi_worker\n", "9:", "strategy: multi_worker is TensorFlow's"),
        ("    tpu: {name: mine}\n", "9:", "JAX drives that of its own; expected no 'tpu'"),
        ("    exports: [litert]\n", "9:", "'exports' are made by TensorFlow"),
        ("    resources: {num_workers: 2}\n", "9:", "with JAX one worker drives all devices"),
        ("    strategy: tpu\n", "9:", "no TPU is asked for; expected accelerators: tpu:1"),
        ("    replicas: 4\n    strategy: one_device\n", "", "'replicas' are for mirrored"),
    ],
)
def test_what_does_not_go_with_jax_is_refused(more: str, where: str, message: str) -> None:
    (fault,) = refused(JAX + more)
    assert fault.startswith(where)
    assert message in fault


def test_with_jax_a_slice_is_of_one_host() -> None:
    text = JAX + "    resources: {accelerators: TPU-V5E:8, accelerator_args: {topology: 2x4}}\n"
    assert job(text).tasks[0].resources.num_nodes == 1
