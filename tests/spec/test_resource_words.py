"""Amounts of memory as words, rounded to the side on which what they are said of stays true."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.spec.resources import memory_text, parse_memory


@pytest.mark.parametrize(
    ("amount", "down", "up"),
    [
        (0, "0B", "0B"),
        (999, "999B", "999B"),
        (1_500, "1.5KB", "1.5KB"),
        (512 * 10**6, "512MB", "512MB"),
        (8 * 10**9, "8GB", "8GB"),
        (2**33, "8.58GB", "8.59GB"),
        (24_276_123_456, "24.2GB", "24.3GB"),
        (10**12, "1TB", "1TB"),
        (12_345 * 10**12, "12345TB", "12345TB"),
    ],
)
def test_amounts_as_a_spec_writes_them(amount: int, down: str, up: str) -> None:
    assert (memory_text(amount), memory_text(amount, up=True)) == (down, up)


@settings(derandomize=True, database=None, deadline=None)
@given(st.integers(1_000, 10**20))
def test_what_is_written_can_be_read_and_errs_on_the_side_asked_for(amount: int) -> None:
    below, above = parse_memory(memory_text(amount)), parse_memory(memory_text(amount, up=True))
    assert below <= amount <= above
    assert above - below <= amount / 99
