"""The roofline estimate: against sums done by hand, and what holds for any platform and model."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.edge.estimate import Workload, estimate, moved_bytes
from runner.edge.platforms import Figure, Platform, Rate

BASE = Platform(
    title="a board",
    device="npu",
    status="imagined",
    memory_gb=Figure(value=1.0),
    memory_gb_per_s=Figure(value=10.0, source="measured by us"),
    watts=Figure(value=2.0),
    tops={"int8": Rate(value=4.0, source="its maker"), "fp16": Rate(value=1.0, sparse=True)},
    formats=["onnx"],
)
WORK = Workload(
    operations=8e9, parameters=2_000_000, peak_values=50_000, moved_values=500_000, end_values=1_000
)
CHIP = BASE.model_copy(update={"on_chip_mb": Figure(value=1.0)})

counts = st.integers(0, 10**10)
works = st.builds(
    Workload,
    operations=st.floats(0, 1e15),
    parameters=counts,
    peak_values=counts,
    moved_values=counts,
    end_values=counts,
)
figures = st.floats(1e-3, 1e6).map(lambda value: Figure(value=value))
boards = st.builds(
    lambda tops, memory, chip, watts: BASE.model_copy(
        update={
            "tops": {"int8": Rate(value=tops)},
            "memory_gb_per_s": memory,
            "on_chip_mb": chip,
            "watts": watts,
        }
    ),
    st.floats(1e-3, 1e6),
    st.none() | figures,
    st.none() | figures,
    st.none() | figures,
)
rates = st.sampled_from(["tops", "memory_gb_per_s", "on_chip_mb"])
thorough = settings(derandomize=True, database=None, deadline=None)


def test_the_slower_of_arithmetic_and_memory_is_the_limit() -> None:
    found = estimate(BASE, WORK, "int8")
    # 8e9 operations at 4e12 a second; 2e6 weights and 5e5 numbers of a byte at 10e9 a second.
    assert found.compute_ms == pytest.approx(2.0)
    assert found.memory_ms == pytest.approx(0.25)
    assert (found.latency_ms, found.bound) == (pytest.approx(2.0), "compute")
    assert found.energy_mj == pytest.approx(4.0)  # 2 W for 2 ms
    assert found.per_s == pytest.approx(500.0)
    assert found.memory_mb == pytest.approx(2.05)
    slow = estimate(BASE, replace(WORK, parameters=100_000_000), "int8")
    assert (slow.latency_ms, slow.bound) == (pytest.approx(10.05), "memory")


def test_sixteen_bits_take_twice_the_bytes_and_sparse_operations_count_half() -> None:
    found = estimate(BASE, WORK, "fp16")
    assert found.compute_ms == pytest.approx(16.0)
    assert found.memory_ms == pytest.approx(0.5)


def test_weights_of_four_bits_meet_numbers_of_eight() -> None:
    board = BASE.model_copy(update={"tops": {"int4": Rate(value=8.0)}})
    assert moved_bytes(board, WORK, "int4") == 1_000_000 + 500_000


def test_what_fits_beside_the_arithmetic_is_not_read_again() -> None:
    small = replace(WORK, parameters=900_000)
    assert moved_bytes(CHIP, small, "int8") == 1_000  # input and output alone
    # Of 2 MB of weights all but the 950 kB for which there is room beside 50 kB.
    assert moved_bytes(CHIP, WORK, "int8") == 2_000_000 - 950_000 + 1_000
    large = replace(WORK, peak_values=1_500_000)
    assert moved_bytes(CHIP, large, "int8") == 2_000_000 + 500_000


def test_it_names_what_it_rests_on_and_what_it_lacks() -> None:
    found = estimate(BASE, WORK, "int8")
    assert (found.unverified, found.missing) == (("watts",), ())
    assert estimate(BASE, WORK, "fp16").unverified == ("tops.fp16", "watts")
    bare = BASE.model_copy(update={"memory_gb_per_s": None, "watts": None})
    found = estimate(bare, WORK, "int8")
    assert found.missing == ("memory_gb_per_s", "watts")
    assert (found.memory_ms, found.energy_mj, found.bound) == (None, None, "compute")
    assert found.latency_ms == pytest.approx(2.0)


@thorough
@given(boards, works, st.data())
def test_more_work_never_takes_less(board: Platform, work: Workload, data: st.DataObject) -> None:
    field = data.draw(
        st.sampled_from(["operations", "parameters", "peak_values", "moved_values", "end_values"])
    )
    more = replace(work, **{field: getattr(work, field) + data.draw(st.integers(0, 10**10))})
    less, greater = estimate(board, work, "int8"), estimate(board, more, "int8")
    assert greater.latency_ms >= less.latency_ms * (1 - 1e-9)
    assert greater.memory_mb >= less.memory_mb
    assert (greater.energy_mj or 0.0) >= (less.energy_mj or 0.0) * (1 - 1e-9)


@thorough
@given(boards, works, st.floats(1.0, 1e3), rates)
def test_a_better_device_is_never_slower(
    board: Platform, work: Workload, factor: float, what: str
) -> None:
    figure = board.tops["int8"] if what == "tops" else getattr(board, what)
    if figure is None:
        return
    better = figure.model_copy(update={"value": figure.value * factor})
    update = {"tops": {"int8": better}} if what == "tops" else {what: better}
    faster = estimate(board.model_copy(update=update), work, "int8")
    assert faster.latency_ms <= estimate(board, work, "int8").latency_ms * (1 + 1e-9)


@thorough
@given(boards, works)
def test_it_is_as_fast_as_its_limit_allows_and_no_faster(board: Platform, work: Workload) -> None:
    found = estimate(board, work, "int8")
    limits = {"compute": found.compute_ms, "memory": found.memory_ms}
    assert found.latency_ms == limits[found.bound]
    assert found.latency_ms == max(found.compute_ms, found.memory_ms or 0.0)
