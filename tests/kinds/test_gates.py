"""What a task's figures must be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from runner.errors import Exit, GateMissed
from runner.kinds import Yield
from runner.kinds.gates import _GATES as GATES_BY_NAME
from runner.kinds.gates import CompressionGatesParams, GatesParams, misses, through
from runner.model import Fact, Metric
from runner.report.headline import MESSAGE_LIMIT


def gates(**limits: float) -> CompressionGatesParams:
    return CompressionGatesParams(**limits)


FIGURES = {
    "test/accuracy": 0.95,
    "size/model_mb": 2.0,
    "latency/p50_ms": 1.5,
    "compression/accuracy_drop": 0.02,
    "compression/size_ratio": 4.0,
    "compression/speedup": 3.0,
    "baseline/size/model_mb": 8.0,
    "tried/onnx int8/size/model_mb": 9.0,
}


@pytest.mark.parametrize(
    ("name", "holds", "fails"),
    [
        ("accuracy", 0.95, 0.96),
        ("size_mb", 2.0, 1.9),
        ("latency_p50_ms", 1.5, 1.4),
        ("accuracy_drop", 0.02, 0.01),
        ("size_ratio", 4.0, 4.1),
        ("speedup", 3.0, 3.1),
    ],
)
def test_a_limit_is_met_by_what_equals_it(name: str, holds: float, fails: float) -> None:
    assert misses(FIGURES, gates(**{name: holds})) == []
    (missed,) = misses(FIGURES, gates(**{name: fails}))
    assert missed.startswith(f"gate {name}: ")


def test_a_miss_says_by_how_much() -> None:
    assert misses(FIGURES, gates(size_mb=1.5, accuracy=0.99)) == [
        "gate accuracy: 0.95 where at least 0.99 is asked for, 0.04 less",
        "gate size_mb: 2 where at most 1.5 is asked for, 0.5 more",
    ]


def test_every_form_must_hold() -> None:
    forms = {"onnx/size/model_mb": 1.0, "litert/size/model_mb": 3.0, "baseline/size/model_mb": 9.0}
    assert misses(forms, gates(size_mb=2.0)) == [
        "gate size_mb of litert: 3 where at most 2 is asked for, 1 more"
    ]


def test_what_was_not_measured_is_missed() -> None:
    assert misses({}, gates(speedup=2.0)) == [
        "gate speedup: the task measured no compression/speedup"
    ]


@pytest.mark.parametrize("name", ["accuracy", "size_mb"])
def test_no_number_misses_every_limit(name: str) -> None:
    figures = {"test/accuracy": math.nan, "size/model_mb": math.nan}
    assert len(misses(figures, gates(**{name: 0.5}))) == 1


def test_everything_is_passed_on_before_a_miss_is_told() -> None:
    yields: list[Yield] = [
        Metric(name="test/accuracy", value=0.1, step=1),
        Metric(name="test/accuracy", value=0.5),
        Fact(name="device", text="cpu"),
    ]
    seen: list[Yield] = []

    def watched() -> Iterator[Yield]:
        for item in through(yields, gates(accuracy=0.9)):
            seen.append(item)
            yield item

    with pytest.raises(GateMissed, match=r"0\.5 where at least 0\.9") as caught:
        list(watched())
    assert seen == yields
    assert caught.value.exit_code == Exit.FAILED
    assert list(through(yields, None)) == yields


def test_the_first_line_of_a_miss_is_short_however_many_there_are() -> None:
    names = ("torch-export", "aotinductor", "onnx", "openvino", "litert", "executorch")
    yields = [
        Metric(name=f"{form}/{gate.metric}", value=-1.234567e-7 if gate.at_least else 1.234567e9)
        for gate in GATES_BY_NAME.values()
        for form in names
    ]
    limits = gates(
        accuracy=0.98765, size_mb=0.0123456, latency_p50_ms=0.0123456, accuracy_drop=-0.98765,
        cosine=0.98765, size_ratio=12345.6, speedup=12345.6,
    )  # fmt: skip
    with pytest.raises(GateMissed) as caught:
        list(through(yields, limits))
    first, *others = caught.value.message.splitlines()
    assert len(others) == len(yields) - 1 == 41
    assert first.endswith("(41 others missed)") and len(first) < MESSAGE_LIMIT
    assert all(len(f"{each} (41 others missed)") < MESSAGE_LIMIT for each in others)
    with pytest.raises(GateMissed) as caught:
        list(through(yields[:2], gates(accuracy=0.5)))
    first, other = caught.value.message.splitlines()
    assert first.startswith("gate accuracy of torch-export: ") and "(1 other missed)" in first
    assert other.startswith("gate accuracy of aotinductor: ")
    with pytest.raises(GateMissed) as caught:
        list(through(yields[:1], gates(accuracy=0.5)))
    assert "missed" not in caught.value.message


@pytest.mark.parametrize("wrong", [{"accuracy": 1.5}, {"size_mb": 0.0}, {"size": 1.0}])
def test_a_limit_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CompressionGatesParams(**wrong)


def test_what_is_made_from_nothing_has_no_drop() -> None:
    with pytest.raises(ValidationError):
        GatesParams(accuracy_drop=0.1)  # type: ignore[call-arg]
