"""What a bench measured, as rows, words and rooflines."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from digits_run import TEACHER, finished, planned_task
from hypothesis import given, settings
from hypothesis import strategies as some

from runner.report.appendix import definitions
from runner.report.headline import headline
from runner.report.html import to_html
from runner.report.rates import LABELS, by_node
from runner.report.roofline import Roofline, amount, draw, roofline, rooflines, spread
from runner.report.summary import Report
from runner.report.terminal import to_terminal

CPU = {
    "memory/device_gb": 25.3,
    "bench/matmul_fp32_tflops": 0.102,
    "bench/matmul_bf16_tflops": 0.9181,
    "bench/matmul_int8_tops": 1.6,
    "bench/copy_gb_per_s": 20.0,
}
GPU = {
    "memory/device_gb": 85.0,
    "bench/matmul_fp32_tflops": 51.2,
    "bench/matmul_fp16_tflops": 790.0,
    "bench/matmul_bf16_tflops": 790.0,
    "bench/copy_gb_per_s": 2900.0,
    "bench/host_to_device_pinned_gb_per_s": 55.0,
    "bench/all_reduce_gb_per_s": 340.0,
}


def benched(plan: dict[str, Any], metrics: dict[str, dict[str, float]]) -> Report:
    plan["tasks"] = [planned_task(name, "bench", []) for name in metrics]
    return finished(plan, metrics)


@pytest.fixture
def both(plan_document: dict[str, Any]) -> Report:
    return benched(plan_document, {"node-1": CPU, "node-2": GPU})


def test_the_headline_is_the_fastest_device(plan_document: dict[str, Any], both: Report) -> None:
    assert headline(both) == (
        "node-2 does 790 TFLOP/s in fp16 and copies 2.90 TB/s, the fastest of 2"
    )
    assert headline(benched(plan_document, {"node-1": CPU})) == (
        "node-1 does 918 GFLOP/s in bf16 and copies 20.0 GB/s"
    )


def test_a_terminal_shows_each_figure_in_its_unit(both: Report) -> None:
    lines = (re.split("  +", line) for line in to_terminal(both).splitlines())
    rows = {label: cells for label, *cells in lines}
    assert rows["products, fp32"] == ["102 GFLOP/s", "51.2 TFLOP/s"]
    assert rows["products, int8"] == ["1.60 TOP/s", "\u2013"]
    assert rows["copy within memory"] == ["20.0 GB/s", "2.90 TB/s"]
    assert rows["device's memory"] == ["25.3 GB", "85.0 GB"]
    assert LABELS["bench/device_to_host_pinned_gb_per_s"] not in rows


def test_a_row_for_each_node_holds_its_figures_under_their_units(both: Report) -> None:
    head, units, first, second = by_node(both)
    shown = list(zip(head, units, first, second, strict=True))
    assert shown[:3] == [
        ("node", "", "node-1", "node-1"),  # the plan's node: no worker told of its own
        ("fp32", "TFLOP/s", "0.102", "51.2"),
        ("fp16", "TFLOP/s", "\u2013", "790"),
    ]
    assert ("all-reduce", "GB/s", "\u2013", "340") in shown
    assert ("int8", "TOP/s", "1.60", "\u2013") in shown


def test_a_node_that_was_not_measured_says_so(plan_document: dict[str, Any]) -> None:
    report = benched(plan_document, {"a": CPU})
    lost = replace(report.tasks[0], name="b", status="timed_out", metrics={}, node="node-2")
    rows = by_node(replace(report, tasks=(*report.tasks, lost)))
    assert rows[-1] == ["node-2", *["\u2013"] * (len(rows[0]) - 2), "timed out"]
    assert rows[-2][-1] == ""


def test_what_was_measured_is_explained_and_nothing_else(both: Report) -> None:
    assert [term for term, _ in definitions(both)] == [
        "Products",
        "Copy within memory",
        "To and from the device",
        "All-reduce",
    ]


def test_what_is_attainable_is_the_lower_of_both_roofs() -> None:
    found = roofline(CPU)
    assert found is not None
    assert found.peaks == pytest.approx({"fp32": 0.102e12, "bf16": 0.9181e12, "int8": 1.6e12})
    assert found.ridge("fp32") == pytest.approx(5.1)  # 102 GFLOP/s over 20 GB/s
    assert found.attainable("fp32", 1.0) == pytest.approx(20e9)
    assert found.attainable("fp32", 5.1) == pytest.approx(102e9)
    assert found.attainable("fp32", 1e6) == pytest.approx(102e9)


@pytest.mark.parametrize("missing", ["bench/copy_gb_per_s", "products"])
@pytest.mark.parametrize("instead", [None, 0.0, float("nan")])
def test_without_both_roofs_there_is_no_roofline(missing: str, instead: float | None) -> None:
    metrics = dict(CPU)
    for name in CPU:
        if name == missing or (missing == "products" and "matmul" in name):
            del metrics[name]
            metrics |= {} if instead is None else {name: instead}
    assert roofline(metrics) is None


PEAKS = some.dictionaries(
    some.sampled_from(["fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "int8"]),
    some.floats(1e8, 1e16),
    min_size=1,
)


@given(PEAKS, some.floats(1e8, 1e13))
@settings(max_examples=25, deadline=None)
def test_any_roofline_is_a_picture_with_its_precisions(
    peaks: dict[str, float], moved: float
) -> None:
    svg = draw(Roofline(bytes_per_s=moved, peaks=peaks), name="r", title="</title><b>")
    ElementTree.fromstring(svg)
    words = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert set(peaks) <= set(words)
    assert f"memory, {amount(moved)}B/s" in words
    assert "operations per byte moved" in words and "operations per second" in words
    assert "var(--line-1)" in svg and "var(--line-2)" in svg
    assert not re.search(r"#[0-9a-f]{6}", svg)


@given(some.lists(some.floats(0, 1), max_size=7).map(sorted))
def test_labels_keep_their_order_and_their_distance(values: list[float]) -> None:
    placed = spread(values, 0.1)
    assert all(after - before > 0.1 - 1e-9 for before, after in pairwise(placed))
    assert sum(placed) == pytest.approx(sum(values))  # no drift to one side
    if all(after - before >= 0.1 for before, after in pairwise(values)):
        assert placed == pytest.approx(values)


def test_labels_in_each_others_way_are_centred_on_what_they_name() -> None:
    assert spread([0.5, 0.5, 0.9], 0.1) == pytest.approx([0.45, 0.55, 0.9])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01, "0.01"), (1.0, "1 "), (100.0, "100 "), (1e11, "100 G"), (2.38e10, "23.8 G")],
)
def test_amounts_carry_the_prefix_of_their_thousand(value: float, text: str) -> None:
    assert amount(value) == text


def test_the_page_draws_one_for_each_device_and_none_for_a_model(
    plan_document: dict[str, Any], both: Report
) -> None:
    assert rooflines(both).count("<figure>") == 2
    page = to_html(both)
    assert "<h2>Roofline</h2>" in page and 'aria-label="Roofline of node-2"' in page
    plan_document["tasks"] = [planned_task("teacher", "train", [])]
    assert "Roofline" not in to_html(finished(plan_document, {"teacher": TEACHER}))
