"""precision: fp8 where no device could compute in it is a fault of the spec."""

from __future__ import annotations

import pytest
from refusing import TASK, refused

FP8 = TASK + "    precision: fp8\n"


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ("{}", "the task may run on a CPU; expected accelerators such as H100:1 in its resources,"),
        ("{accelerators: [H100:1, cpu]}", "in its resources, and cpu left out, or another"),
        ("{accelerators: A100:1}", "A100 has no fp8; expected accelerators of compute capability"),
        ("{accelerators: [H100:1, t4:1]}", "T4 has no fp8"),
    ],
)
def test_devices_without_it(resources: str, said: str) -> None:
    (fault,) = refused(f"{FP8}    resources: {resources}\n")
    assert fault.startswith("7:5: a: precision fp8") or fault.startswith("8:")
    assert said in fault


@pytest.mark.parametrize("choice", ["gpu:1", "H100:2", "[H200:1, L4:1]"])
def test_devices_that_may_have_it(choice: str) -> None:
    assert refused(f"{FP8}    resources: {{accelerators: {choice}}}\n") == []


def test_a_model_without_layers_for_it() -> None:
    text = FP8.replace("{name: mlp}", "{name: resnet}") + "    resources: {accelerators: gpu:1}\n"
    (fault,) = refused(text)
    assert "has nothing to work on in resnet" in fault
