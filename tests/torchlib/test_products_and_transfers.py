"""The parts of a bench against independent computations, and between two processes."""

from __future__ import annotations

import multiprocessing
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.errors import TaskError
from runner.torchlib.bench import products, timing, transfers
from runner.torchlib.parallel.world import joined


@pytest.mark.parametrize("precision", products.PRECISIONS)
def test_a_product_in_any_precision_is_float64s_within_its_tolerance(precision: str) -> None:
    numbers = products.PRECISIONS[precision]
    generator = torch.Generator().manual_seed(3)
    left, right = (products._random(precision, 96, "cpu", generator) for _ in range(2))
    assert left.dtype == right.dtype == numbers.dtype
    result = products.product(precision, left, right)().double()
    expected = left.double() @ right.double()
    assert (result - expected).norm() / expected.norm() <= numbers.tolerance
    assert products.relative_error(left, right, result) <= numbers.tolerance


@pytest.mark.parametrize("seed", range(5))
def test_the_estimated_error_is_about_the_whole_of_it(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    left, right, noise = (
        torch.randn(200, 200, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    expected = left @ right
    result = expected + 0.3 * noise
    whole = float((result - expected).norm() / expected.norm())
    assert products.relative_error(left, right, result) == pytest.approx(whole, rel=0.5)
    assert products.relative_error(left, right, expected) < 1e-14


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the products that are timed, each n^3 nanoseconds a call."""
    sizes: list[int] = []

    def seconds(call: Any, *, device: str) -> float:
        return 1e-9 * sizes[-1] ** 3

    def product(precision: str, left: torch.Tensor, right: torch.Tensor) -> Any:
        sizes.append(len(left))
        return lambda: left

    monkeypatch.setattr(timing, "seconds", seconds)
    monkeypatch.setattr(products, "product", product)
    monkeypatch.setattr(products, "relative_error", lambda left, right, result: 0.0)
    return sizes


def test_sizes_rise_as_far_as_time_allows_but_the_first_is_always_taken(
    measured: list[int],
) -> None:
    def tflops(seconds: float) -> float:
        return products.matmul_tflops(
            "fp32", sizes=[1200, 100, 1000], seconds=seconds, device="cpu", seed=0
        )

    assert tflops(1e-9) == pytest.approx(0.002)
    assert measured == [100]
    measured.clear()
    tflops(12)  # 13 calls would take 13 s
    assert measured == [100, 1000]
    measured.clear()
    tflops(20)  # and of the next size 22 s
    assert measured == [100, 1000, 1200]


def test_sizes_rise_no_further_than_memory_allows(
    measured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # fp32 takes 28 bytes an entry: three matrices, and two in float64 to check the product.
    monkeypatch.setattr(products, "memory_bytes", lambda device: 8 * 28 * 1000**2)
    products.matmul_tflops("fp32", sizes=[500, 1000, 1001], seconds=1e6, device="cpu", seed=0)
    assert measured == [500, 1000]


def test_a_copy_that_is_not_equal_is_an_error() -> None:
    source = transfers._pattern(80, "cpu")
    transfers._check_copied(source, source.clone(), "within cpu")
    with pytest.raises(TaskError, match="a copy of 80 bytes within cpu is not equal"):
        transfers._check_copied(source, source + 1, "within cpu")


def rank_of_two(folder: Path, rank: int, answers: Queue[Any]) -> None:
    torch.set_num_threads(1)
    transfers._REDUCED_BYTES["cpu"] = 4_000_000
    own = {"a": float(rank), "b": 5.0 - rank, **({"of the first": 1.0} if rank == 0 else {})}
    with joined(
        folder=folder, host="127.0.0.1", rank=rank, world_size=2, device="cpu", timeout_s=60
    ):
        answers.put((transfers.slowest(own), transfers.all_reduce_gb_per_s("cpu")))


def test_a_gang_has_the_figures_of_its_slowest_and_sums_over_all(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers: Any = context.Queue()
    ranks = [context.Process(target=rank_of_two, args=(tmp_path, n, answers)) for n in range(2)]
    for process in ranks:
        process.start()
    found = [answers.get(timeout=90) for _ in ranks]
    for process in ranks:
        process.join(timeout=30)
    assert [process.exitcode for process in ranks] == [0, 0]
    assert [slowest for slowest, _ in found] == [{"a": 0.0, "b": 4.0}] * 2
    assert all(rate > 0 for _, rate in found)
