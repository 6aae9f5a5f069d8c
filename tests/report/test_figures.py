"""Curves and timeline: valid, deterministic, free of what was not drawn by us."""

from __future__ import annotations

import dataclasses
import math
import re
import warnings
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import matplotlib
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from runner.model import Record
from runner.report.figures import Panel, curve, legend, panels, thinned, warm
from runner.report.summary import summarise
from runner.report.timeline import tick_times, timeline

LOSS = Panel(
    title="Loss",
    lines={
        "train": [(step, 2.0 / (step + 1)) for step in range(0, 900, 3)],
        "test": [(step, 2.2 / (step + 1)) for step in range(0, 900, 90)],
    },
)


def test_the_same_series_give_the_same_bytes() -> None:
    first = curve(LOSS, name="a", title="loss")
    assert first == curve(LOSS, name="a", title="loss")
    assert first != curve(LOSS, name="b", title="loss")


def test_the_user_s_matplotlib_settings_change_nothing_and_are_left_alone() -> None:
    before = curve(LOSS, name="a", title="loss")
    with matplotlib.rc_context({"lines.linewidth": 9, "svg.fonttype": "path", "font.size": 30}):
        settings = dict(matplotlib.rcParams)
        assert curve(LOSS, name="a", title="loss") == before
        assert dict(matplotlib.rcParams) == settings


def test_a_curve_is_an_element_in_the_colours_of_the_page() -> None:
    svg = curve(LOSS, name="a", title='</title><script>"&')
    root = ElementTree.fromstring(svg)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == '</title><script>"&'
    assert "var(--line-1)" in svg and "var(--line-2)" in svg
    assert "var(--ink-soft)" in svg
    assert not re.search(r"#[0-9a-f]{6}", svg.replace("&#", ""))
    assert not re.search(r"https?:|xlink|<style|<metadata", svg)
    assert "<text" in svg


def test_loss_and_accuracy_are_panels_and_nothing_else_is() -> None:
    points = [(1, 0.5), (2, 0.6)]
    found = panels(
        {
            "test/accuracy": points,
            "test/loss": points,
            "train/loss": points,
            "train/samples_per_s": points,
            "one/loss": points[:1],
            "none/loss": [(1, math.nan), (2, math.inf)],
        }
    )
    assert [(panel.title, list(panel.lines)) for panel in found] == [
        ("Loss", ["train", "test"]),
        ("Accuracy", ["test"]),
    ]


@pytest.mark.parametrize(
    "points",
    [
        [(0, 0.0), (1, 0.0)],
        [(5, 1e-12), (5, 1e12)],
        [(0, -1e300), (1, 1e300)],
        [(0, math.nan), (1, 2.0), (2, 3.0)],
    ],
)
def test_odd_series_are_drawn_without_a_warning(points: list[tuple[int, float]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ElementTree.fromstring(curve(Panel(title="Loss", lines={"x": points}), name="a", title=""))


def ticks(svg: str) -> list[str]:
    """The words beside the vertical axis, from the bottom up."""
    axis = svg[svg.index(">step</text>") :]
    return re.findall(r"<text[^>]*>([^<]*)</text>", axis)


@given(
    some.floats(0.001, 1.0),
    some.floats(0.0, 1.0),
    some.sampled_from([1e-4, 1e-3, 0.01, 0.1, 1.0]),
    some.booleans(),
)
@example(0.765625, 0.775, 1e-4, False)
@settings(max_examples=25, deadline=None)
def test_every_tick_reads_as_what_it_is(a: float, b: float, spread: float, percent: bool) -> None:
    values = [a, a + (b - a) * spread]
    scale = 100 if percent else 1
    panel = Panel(title="A", lines={"test": [*enumerate(values)]}, percent=percent)
    words = ticks(curve(panel, name="a", title=""))
    shown = [float(word.removesuffix(" %").replace("\u2212", "-")) / scale for word in words]
    assert len(shown) >= 2 and len(set(shown)) == len(shown)
    gaps = [after - before for before, after in pairwise(shown)]
    if not percent and max(values) / (min(values) or 1) > 50:
        return  # drawn on a logarithmic scale
    assert gaps == pytest.approx([gaps[0]] * len(gaps), rel=0.05)


def test_a_small_change_of_accuracy_is_not_drawn_as_a_large_one() -> None:
    panel = Panel(title="A", lines={"test": [(100, 0.37804), (200, 0.37855)]}, percent=True)
    words = ticks(curve(panel, name="a", title=""))
    assert words == ["37.50 %", "37.75 %", "38.00 %", "38.25 %"]


def test_a_legend_is_escaped() -> None:
    assert "<script>" not in legend(Panel(title="Loss", lines={"<script>": []}))


@given(some.lists(some.floats(allow_nan=False, allow_infinity=False), max_size=3000))
def test_thinning_keeps_order_and_extremes(values: list[float]) -> None:
    points = list(enumerate(values))
    kept = thinned(points, limit=100)
    assert len(kept) <= 100 or len(points) <= 100
    assert kept == sorted(set(kept), key=lambda point: point[0])
    if values:
        assert min(value for _, value in kept) == min(values)
        assert max(value for _, value in kept) == max(values)


@given(some.floats(0.001, 1e7))
def test_ticks_are_few_and_within(duration_s: float) -> None:
    times = tick_times(duration_s)
    assert len(times) in range(1, 9)
    assert times[0] == 0 and times[-1] <= duration_s * (1 + 1e-6)


def test_the_timeline_shows_every_attempt(
    plan_document: dict[str, Any], records: list[Record]
) -> None:
    svg = timeline(summarise(plan_document, records))
    root = ElementTree.fromstring(svg)
    bars = [each.attrib for each in root.iter("rect")]
    assert [bar["class"] for bar in bars] == ["bar finished", "bar lost", "bar finished"]
    # The student's second worker ran from 8.3 s to 12 s of 12.3 s.
    assert float(bars[2]["x"].rstrip("%")) == pytest.approx(100 * 8.3 / 12.3, abs=0.01)
    assert float(bars[2]["width"].rstrip("%")) == pytest.approx(100 * 3.7 / 12.3, abs=0.01)
    assert "on node-1" in svg and "2 attempts" in svg


def test_no_task_no_timeline(plan_document: dict[str, Any], records: list[Record]) -> None:
    assert timeline(summarise(plan_document, [])) == ""
    assert timeline(summarise(plan_document, records[:1])) == ""


def test_the_timeline_escapes_names(plan_document: dict[str, Any], records: list[Record]) -> None:
    report = summarise(plan_document, records)
    tasks = tuple(dataclasses.replace(task, name="</svg><b>\x00") for task in report.tasks)
    ElementTree.fromstring(timeline(dataclasses.replace(report, tasks=tasks)))


def test_warming_up_is_an_import() -> None:
    warm()
