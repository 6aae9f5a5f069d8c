"""Which platforms suit a need or a model: in which order, and why not the others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.edge.estimate import Workload
from runner.edge.platforms import Figure, Platform, Rate, platforms
from runner.edge.selection import Need, Verdict, judge, need_of, rank

CONVNET = Workload(
    operations=1.2e8,
    parameters=1_850_000,
    peak_values=100_000,
    moved_values=200_000,
    end_values=800,
    operators={"convolution": 4, "relu_": 5, "max_pool2d_with_indices": 2, "addmm": 2, "t": 2},
)
VIT = replace(CONVNET, operators={"addmm": 17, "bmm": 8, "gelu": 4, "_safe_softmax": 4})


def board(**fields: object) -> Platform:
    plain = {
        "title": "a board",
        "device": "npu",
        "status": "current",
        "memory_gb": Figure(value=1.0),
        "memory_gb_per_s": Figure(value=10.0),
        "watts": Figure(value=2.0),
        "tops": {"int8": Rate(value=4.0)},
        "formats": ["onnx"],
    }
    return Platform.model_validate({**plain, **fields})


def named(verdicts: list[Verdict]) -> list[str]:
    return [each.name for each in verdicts]


def test_words_are_sorted_into_devices_precisions_and_formats() -> None:
    need = need_of(["gpu", "int8", "npu", "litert"], max_watts=5)
    assert need == Need(
        devices=("gpu", "npu"), precisions=("int8",), formats=("litert",), max_watts=5
    )


@pytest.mark.parametrize(
    ("need", "why"),
    [
        (Need(devices=("gpu", "cpu")), "its NPU computes, and what is asked for is GPU or CPU"),
        (Need(precisions=("fp32", "fp16")), "has no fp32 or fp16, but int8"),
        (Need(formats=("litert",)), "takes no litert, but onnx"),
        (Need(max_watts=1.5), "takes 2 W, more than 1.5"),
    ],
)
def test_what_speaks_against_a_platform_is_told(need: Need, why: str) -> None:
    verdict = judge("board", board(), need)
    assert (verdict.why_not, verdict.suits) == ((why,), False)


def test_all_that_speaks_against_it_is_told_at_once() -> None:
    need = Need(devices=("gpu",), precisions=("fp32",), formats=("litert",), max_watts=1)
    assert len(judge("board", board(), need).why_not) == 4


def test_power_that_is_not_known_is_not_low() -> None:
    unknown = board(watts=None)
    assert judge("board", unknown, Need()).suits
    assert "is not known" in judge("board", unknown, Need(max_watts=100)).why_not[0]


def test_a_model_must_fit_into_memory_in_the_numbers_that_it_would_have() -> None:
    large = replace(CONVNET, parameters=700_000_000)
    assert judge("board", board(), Need(), large).suits
    half = board(tops={"fp16": Rate(value=2.0)})
    verdict = judge("board", half, Need(), large)
    assert verdict.why_not == ("has 1 GB of memory, and the model takes 1.4 GB in fp16",)
    assert judge("board", board(memory_gb=None), Need(), large).suits  # the host's


def test_a_rate_is_asked_of_the_model() -> None:
    # 1.2e8 operations at 4e12 and 2.05e6 bytes at 10e9 a second: 0.205 ms.
    assert judge("board", board(), Need(min_fps=4_800), CONVNET).suits
    verdict = judge("board", board(), Need(min_fps=5_000), CONVNET)
    assert verdict.why_not == ("4.88e+03 inferences a second at best, fewer than 5000",)


def test_coral_lacks_what_attention_is_made_of() -> None:
    coral = platforms()["coral"]
    assert judge("coral", coral, Need(), CONVNET).suits
    verdict = judge("coral", coral, Need(), VIT)
    assert verdict.why_not == ("lacks operators: BATCH_MATMUL (8 times), GELU (4 times)",)
    odd = replace(CONVNET, operators={"convolution": 1, "my_own_kernel": 2})
    assert judge("coral", coral, Need(), odd).caveats == ("what becomes of my_own_kernel",)


@pytest.mark.parametrize(
    ("tops", "precision", "need", "chosen"),
    [
        ({"fp16": 1.0, "int8": 2.0}, None, Need(), "int8"),
        ({"int8": 2.0, "fp16": 2.0}, None, Need(), "fp16"),  # as fast, and finer
        ({"int8": 2.0, "fp16": 1.0}, "fp16", Need(), "fp16"),  # what its files hold
        ({"int8": 2.0, "fp16": 1.0}, "fp16", Need(precisions=("int8",)), "int8"),
        ({"int8": 2.0}, None, Need(precisions=("fp32",)), None),
    ],
)
def test_it_computes_in_what_is_asked_for_or_it_is_best_at(
    tops: dict[str, float], precision: str | None, need: Need, chosen: str | None
) -> None:
    rates = {name: Rate(value=value) for name, value in tops.items()}
    made = board(tops=rates, precision=precision)
    assert judge("board", made, need).precision == chosen


def test_the_ones_that_suit_come_first_then_those_to_be_had_then_the_thriftiest() -> None:
    made = {
        "gone": board(status="end of life", watts=Figure(value=0.1)),
        "imagined": board(status="imagined", watts=Figure(value=0.1)),
        "hungry": board(watts=Figure(value=4.0)),
        "thrifty": board(watts=Figure(value=1.0)),
        "unknown": board(watts=None),
        "unsuited": board(device="gpu", watts=Figure(value=0.01)),
    }
    expected = ["thrifty", "hungry", "unknown", "imagined", "gone", "unsuited"]
    assert named(rank(made, Need(devices=("npu",)))) == expected
    assert named(rank(made, Need(devices=("npu",)), CONVNET)) == expected


def test_with_a_model_energy_decides_not_the_peak() -> None:
    # Twice the rate for its power, but memory is so slow that the model takes ten times as long.
    made = {
        "peak": board(tops={"int8": Rate(value=8.0)}, memory_gb_per_s=Figure(value=1.0)),
        "even": board(),
    }
    assert named(rank(made, Need())) == ["peak", "even"]
    assert named(rank(made, Need(), CONVNET)) == ["even", "peak"]


@settings(derandomize=True, database=None, deadline=None, max_examples=50)
@given(
    st.sampled_from([(), ("npu",), ("gpu", "cpu")]),
    st.sampled_from([(), ("int8",), ("fp16", "fp32")]),
    st.none() | st.floats(0.1, 400),
    st.none() | st.floats(1, 1e6),
    st.none() | st.sampled_from([CONVNET, VIT]),
)
def test_asking_for_less_never_rules_a_platform_out(
    devices: tuple[str, ...],
    precisions: tuple[str, ...],
    max_watts: float | None,
    min_fps: float | None,
    work: Workload | None,
) -> None:
    need = Need(devices=devices, precisions=precisions, max_watts=max_watts, min_fps=min_fps)
    verdicts = rank(platforms(), need, work)
    assert sorted(named(verdicts)) == sorted(platforms())
    suited = {each.name for each in verdicts if each.suits}
    assert named(verdicts)[: len(suited)] == [each.name for each in verdicts if each.suits]
    for less in (replace(need, max_watts=None), replace(need, min_fps=None),
                 replace(need, devices=())):  # fmt: skip
        assert suited <= {each.name for each in rank(platforms(), less, work) if each.suits}
