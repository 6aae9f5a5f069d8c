"""The picture of a trade-off: what is far off stands at its edge, and the others stay apart."""

from __future__ import annotations

import re

import pytest

from runner.report.pareto import Point
from runner.report.trade_off import BEYOND, bounds, figure


def made(accuracy: float, latency_ms: float, note: str = "", *, is_cosine: bool = False) -> Point:
    return Point(
        name=f"{accuracy} {latency_ms}",
        accuracy=accuracy,
        size_mb=1.0,
        latency_ms=latency_ms,
        samples_per_s=100.0,
        note=note,
        is_cosine=is_cosine,
    )


NEAR = [
    made(0.981, 2.0, "original"), made(0.98, 0.2, "kept"), made(0.979, 0.25), made(0.978, 0.4),
]  # fmt: skip
CHANCE, SLOW = made(0.1, 0.18), made(0.9795, 100.0)


def beyond(found: list[Point]) -> list[Point]:
    limits = bounds(found)
    return [each for each in found if not limits.holds(each)]


@pytest.mark.parametrize(
    "far",
    [[], [CHANCE], [SLOW], [CHANCE, SLOW], [made(0.1, 100.0)], [CHANCE, made(0.12, 0.19)]],
    ids=["none", "chance", "slow", "chance and slow", "both at once", "two"],
)
def test_what_is_far_off_is_beyond_the_edge_and_the_others_are_not(far: list[Point]) -> None:
    assert beyond([*NEAR, *far]) == far


@pytest.mark.parametrize(
    "found",
    [
        # What is better by far is what the picture is for.
        [*NEAR, made(0.98, 0.001)],
        [made(0.5, 2.0, "original"), made(0.51, 0.2), made(0.52, 0.3), made(0.98, 0.4)],
        # All are held against the first, and what was kept is what was asked for.
        [made(0.981, 200.0, "original"), *NEAR[1:]],
        [*NEAR[:1], made(0.6, 0.2, "kept"), *NEAR[2:]],
        # Of two halves, neither is off.
        [NEAR[0], NEAR[1], made(0.1, 0.3), made(0.1, 0.4)],
        [NEAR[0], made(0.1, 0.3)],
        # Not so far that others would be pressed together.
        [*NEAR, made(0.94, 0.3), made(0.978, 8.0)],
    ],
)
def test_nothing_else_is(found: list[Point]) -> None:
    assert beyond(found) == []


def dots(svg: str) -> list[tuple[float, float]]:
    """Where the markers stand in the picture, in its points, from the left and from the top."""
    found = re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', svg)
    return [(float(x), float(y)) for x, y in found]


def spread(svg: str, first: int) -> tuple[float, float]:
    xs, ys = zip(*dots(svg)[:first], strict=True)
    return max(xs) - min(xs), max(ys) - min(ys)


@pytest.mark.parametrize("far", [CHANCE, SLOW])
def test_the_others_stay_as_far_apart_as_without_it(far: Point) -> None:
    alone = figure(NEAR, name="a", title="alone")
    beside = figure([*NEAR, far], name="b", title="beside")
    for without, with_it in zip(spread(alone, 4), spread(beside, 4), strict=True):
        assert with_it > 0.75 * without
    assert BEYOND in beside and BEYOND not in alone


def test_what_is_beyond_is_told_with_its_figure_and_stands_inside_the_picture() -> None:
    drawn = figure([*NEAR, CHANCE, SLOW, made(0.11, 150.0)], name="a", title="A & B")
    assert drawn.startswith("<figure><svg") and "A &amp; B" in drawn
    assert "milliseconds for one sample" in drawn
    for text in ("5: 10.0 %", "6: 100 ms", "7: 11.0 %, 150 ms"):
        assert f">{text}</text>" in drawn
    _, _, width, height = map(float, re.findall(r'viewBox="([^"]*)"', drawn)[0].split())
    assert len(dots(drawn)) == 7
    assert all(0 < x < width and 0 < y < height for x, y in dots(drawn))
    lowest = max(y for _, y in dots(drawn)[:4])
    assert all(y > lowest for _, y in (dots(drawn)[4], dots(drawn)[6]))
    rightmost = max(x for x, _ in dots(drawn)[:4])
    assert all(x > rightmost for x, _ in (dots(drawn)[5], dots(drawn)[6]))


def test_a_cosine_is_told_as_one() -> None:
    found = [
        made(1.0, 2.0, "original", is_cosine=True), made(0.9991, 0.2, "kept", is_cosine=True),
        made(0.9989, 0.3, is_cosine=True), made(0.35, 0.4, is_cosine=True),
    ]  # fmt: skip
    assert "4: 0.3500" in figure(found, name="a", title="a")
