"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from runner.report import format as form


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (form.percent(0.95833), "95.8 %"),
        (form.count(7), "7"),
        (form.count(999), "999"),
        (form.count(2410), "2.41 k"),
        (form.count(305_000), "305 k"),
        (form.count(999_950), "1.00 M"),
        (form.count(1_800_000), "1.80 M"),
        (form.count(7_240_000_000), "7.24 B"),
        (form.megabytes(1.2204), "1.22 MB"),
        (form.megabytes(0.01034), "0.0103 MB"),
        (form.megabytes(14_500.0), "14.5 GB"),
        (form.size(0), "0 B"),
        (form.size(12_345), "12.3 kB"),
        (form.milliseconds(0.04123), "0.0412 ms"),
        (form.milliseconds(12_300), "12.3 s"),
        (form.rate(24_100), "24.1 k/s"),
        (form.rate(81.2), "81.2 /s"),
        (form.loss(0.142344), "0.1423"),
        (form.loss(0.0000123), "0.0000123"),
        (form.duration(0.041), "41 ms"),
        (form.duration(5.13), "5.1 s"),
        (form.duration(59.97), "1 min 0 s"),
        (form.duration(125), "2 min 5 s"),
        (form.duration(3725), "1 h 2 min"),
        (form.plain(24.30), "24.3"),
        (form.plain(1e300), "1.000e+300"),
        (form.points(-0.0061), "\u22120.6 points"),
        (form.points(0.0001), "same"),
        (form.change(18.24, "smaller", "larger"), "18.2\u00d7 smaller"),
        (form.change(0.5, "faster", "slower"), "2.0\u00d7 slower"),
        (form.change(1.03, "faster", "slower"), "same"),
        (form.change(125.4, "smaller", "larger"), "125\u00d7 smaller"),
        (form.moment(1795362301.25), "2026-11-22 15:45:01 UTC"),
        (form.metric("train/step_ms", 1.5), "1.50 ms"),
        (form.metric("train/samples_per_s", 71_320.5), "71.3 k/s"),
        (form.metric("time/first_step_s", 1.91), "1.9 s"),
        (form.metric("memory/peak_mb", 412.3), "412 MB"),
        (form.metric("future/thing", 3), "3"),
    ],
)
def test_a_number_reads(shown: str, expected: str) -> None:
    assert shown == expected


FORMS = (
    form.percent,
    form.count,
    form.rate,
    form.megabytes,
    form.size,
    form.milliseconds,
    form.loss,
    form.plain,
    form.duration,
    form.points,
    form.difference,
)


@pytest.mark.parametrize("shown", FORMS)
@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_not_there_is_a_dash(shown: object, value: float | None) -> None:
    assert callable(shown)
    assert shown(value) == form.NONE


@given(some.floats(), some.sampled_from(FORMS))
def test_every_number_reads_as_something(value: float, shown: object) -> None:
    assert callable(shown)
    assert shown(value)


@given(some.floats(1e-9, 1e12))
def test_three_digits_are_within_half_a_percent(value: float) -> None:
    assert float(form.significant(value)) == pytest.approx(value, rel=0.005001)
