"""What a spec may ask of kind quantize: schemes, runtimes and targets that go together."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from runner.kinds.quantize import QuantizeParams
from runner.kinds.schemes import GOES, RUNTIMES, SCHEMES, choices, misfit

DIGITS = {"name": "digits"}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"target": "jetson-nano"}, "compiler makes fp16; expected kind: export with target: jets"),
        ({"target": "coral", "runtime": "onnx"}, "takes no onnx; expected litert"),
        ({"target": "coral", "scheme": "int8-dynamic"}, "takes no int8-dynamic; expected int8-st"),
    ],
)
def test_what_a_target_does_not_take_is_a_fault_of_the_spec(
    params: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        QuantizeParams.model_validate({"model": "m", "data": DIGITS, **params})


@pytest.mark.parametrize(
    ("target", "asked"),
    [("coral", ("int8-static", "litert")), ("intel-npu", ("int8-static", "openvino")),
     ("x86-cpu", ("auto", "onnx")), ("phone", ("auto", "executorch"))],
)  # fmt: skip
def test_a_target_says_what_the_spec_leaves_open(target: str, asked: tuple[str, str]) -> None:
    params = QuantizeParams.model_validate({"model": "m", "data": DIGITS, "target": target})
    assert (params.asked_scheme, params.asked_runtime) == asked


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"scheme": "fp8", "runtime": "onnx"}, "fp8 is not to be had with runtime onnx"),
        (
            {"scheme": "int4-weight", "runtime": "torch"},
            "a byte for each weight on a CPU; expected runtime litert, openvino, onnx or exec",
        ),
        (
            {"scheme": "int8-weight", "runtime": "executorch"},
            "8-bit weights by 8-bit activations alone; expected runtime openvino, onnx, litert or",
        ),
        ({"scheme": "int8-static", "group_size": 64}, "goes with 'granularity: group'"),
        ({"scheme": "int8-static", "granularity": "group"}, "int8-weight or int4-weight"),
        ({"scheme": "int8-weight", "granularity": "tensor"}, "too coarse"),
        ({"scheme": "int8-qat"}, "exactly one of 'max_epochs' and 'max_steps'"),
        ({"scheme": "int8-static", "max_epochs": 3}, "'max_epochs' goes with scheme: int8-qat"),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_runs(
    params: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        QuantizeParams.model_validate({"model": "m", "data": DIGITS, **params})


def test_every_scheme_goes_with_a_runtime_and_every_other_says_what_does() -> None:
    for scheme in SCHEMES:
        for runtime in RUNTIMES:
            wrong = misfit(scheme, runtime)
            assert (wrong is None) == (runtime in GOES[scheme])
            assert [each.runtime for each in choices(scheme, runtime)] == (
                [runtime] if wrong is None else []
            )
        assert choices(scheme, "auto")
    assert {each.scheme for each in choices("auto", "auto")} == {"int8-static", "int8-dynamic"}
