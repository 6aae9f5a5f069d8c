"""Under which strategy a task runs, given what it asks for and what a probe has found."""

from __future__ import annotations

from typing import Any

import pytest

from runner.errors import TaskError
from runner.tflib.probe import Finding
from runner.tflib.strategy import decide, wants_tpu


def finding(cores: int = 0) -> Finding:
    return Finding(
        cores=cores,
        looked=("/dev/accel* (none)", "TPUClusterResolver('local')"),
        said="8 chips" if cores else "NotFoundError: TPUs not found",
        build="tensorflow-cpu 2.21.0",
        seconds=4.0,
    )


@pytest.mark.parametrize(
    ("asked", "more", "strategy", "replicas", "is_fallback"),
    [
        ("one_device", {}, "one_device", 1, False),
        ("mirrored", {"replicas": 4}, "mirrored", 4, False),
        ("mirrored", {}, "mirrored", 2, False),
        ("auto", {}, "one_device", 1, False),
        ("auto", {"replicas": 3}, "mirrored", 3, False),
        ("auto", {"workers": 3}, "multi_worker", 3, False),
        ("multi_worker", {"workers": 2}, "multi_worker", 2, False),
        # Of {min: 1, max: 4} there was room for one.
        ("multi_worker", {}, "one_device", 1, False),
        ("auto", {"on_tpu_node": True, "found": finding(8)}, "tpu", 8, False),
        ("tpu", {"found": finding(16), "workers": 2}, "tpu", 16, False),
        (
            "tpu", {"found": finding(), "workers": 2, "fallback": ["one_device"]},
            "one_device", 1, True,
        ),
        ("tpu", {"found": finding(4)}, "tpu", 4, False),
        ("tpu", {"found": finding(4), "fallback": ["one_device"]}, "tpu", 4, False),
        ("tpu", {"found": finding(), "fallback": ["one_device"]}, "one_device", 1, True),
        # mirrored replicas of one CPU are no gain, and are made where they are asked for.
        (
            "tpu",
            {"found": finding(), "fallback": ["mirrored", "one_device"]},
            "one_device", 1, True,
        ),
        (
            "tpu",
            {"found": finding(), "fallback": ["mirrored", "one_device"], "replicas": 4},
            "mirrored", 4, True,
        ),
        ("tpu", {"found": finding(), "fallback": ["mirrored"]}, "mirrored", 2, True),
    ],
)  # fmt: skip
def test_a_strategy_is_decided(
    asked: Any, more: dict[str, Any], strategy: str, replicas: int, is_fallback: bool
) -> None:
    decision = decide(asked, **more)
    assert (decision.strategy, decision.replicas) == (strategy, replicas)
    assert (decision.instead_of_tpu is not None) == is_fallback


def test_without_a_tpu_and_a_fallback_it_is_said_what_was_looked_for_and_where() -> None:
    with pytest.raises(TaskError) as caught:
        decide("tpu", found=finding())
    for part in ("no TPU", "/dev/accel*", "TPUClusterResolver('local')", "TPUs not found"):
        assert part in caught.value.message
    assert "fallback: [one_device]" in caught.value.hint


def test_a_fallback_says_why_it_is_no_tpu() -> None:
    decision = decide("tpu", found=finding(), fallback=["one_device"])
    assert decision.instead_of_tpu == "NotFoundError: TPUs not found"
    assert "looked for /dev/accel*" in decision.reason


def test_replicas_of_one_cpu_say_that_they_are_a_test() -> None:
    assert "4 logical devices share this CPU" in decide("mirrored", replicas=4).reason


def test_a_tpu_is_looked_for_only_where_it_is_wanted() -> None:
    assert wants_tpu("tpu", on_tpu_node=False)
    assert wants_tpu("auto", on_tpu_node=True)
    assert not wants_tpu("auto", on_tpu_node=False)
    assert not wants_tpu("mirrored", on_tpu_node=True)
    with pytest.raises(ValueError, match="nobody has looked"):
        decide("tpu")
