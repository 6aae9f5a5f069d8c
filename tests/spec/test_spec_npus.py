"""NPUs in a spec: names of our own devices, and kinds that can't use them."""

from __future__ import annotations

import pytest
from refusing import TASK, refused

from runner.model import Accelerator
from runner.spec.resources import parse_accelerator

EVALUATE = """\
name: job
tasks:
  a:
    kind: evaluate
    model: /somewhere/model
    data: {name: digits}
"""


def asking(text: str, resources: str) -> str:
    return f"{text}    resources: {resources}\n"


def test_a_name_of_ones_own_begins_with_npu() -> None:
    assert parse_accelerator("npu-coral:2") == Accelerator(family="npu", type="npu-coral", count=2)
    assert parse_accelerator("npu") == Accelerator(family="npu", count=1)
    assert parse_accelerator("intel-gaudi2:8") == Accelerator(
        family="npu", type="Intel-GAUDI2", count=8
    )
    with pytest.raises(ValueError, match="is no accelerator that is known here"):
        parse_accelerator("coral:1")
    with pytest.raises(ValueError, match="only a share of one gpu"):
        parse_accelerator("npu-coral:0.5")


STUDENT = """\
name: job
tasks:
  a:
    kind: distill
    teacher: /somewhere/model
    model: {name: mlp}
    data: {name: digits}
    max_epochs: 1
"""


@pytest.mark.parametrize(
    ("text", "resources"),
    [
        (TASK, "{accelerators: npu:1}"),
        (STUDENT, "{accelerators: npu:1}"),
        (TASK, "{accelerators: [Ascend910B:1, gpu:1, cpu]}"),
        (EVALUATE, "{accelerators: npu:1}"),
        (EVALUATE, "{accelerators: npu-coral:1}"),
    ],
)
def test_what_runs_on_them_may_ask_for_them(text: str, resources: str) -> None:
    assert refused(asking(text, resources)) == []


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ("{accelerators: npu-coral:1}", "kind train does not run on npu-coral:1; expected cpu or"),
        ("{accelerators: npu:1}\n    precision: fp8", "needs a GPU, and npu:1 is none; expected"),
        ("{accelerators: npu:4}", "one worker drives one NPU, and several workers only GPUs"),
        ("{accelerators: Ascend910B:1, num_workers: 2}", "expected Ascend910B:1, and no num_work"),
    ],
)
def test_what_training_can_not_use_is_told(resources: str, words: str) -> None:
    (fault,) = refused(asking(TASK, resources))
    assert words in fault


def test_a_student_of_keras_does_not_run_on_one() -> None:
    (fault,) = refused(asking(f"{STUDENT}    framework: keras\n", "{accelerators: npu:1}"))
    assert "does not run on npu:1" in fault
