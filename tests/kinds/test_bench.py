"""Kind bench: every figure that its report knows of a CPU, and what it refuses to measure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from runner.errors import TaskError
from runner.kinds import Yield, find
from runner.model import Context, Fact, Metric, Progress
from runner.report.rates import LABELS, MEMORY, PRODUCTS
from runner.torchlib.bench import products, transfers

KIND = find("bench")
# What no CPU has, and what takes more than one worker.
NOT_OF_A_CPU = {"bench/matmul_tf32_tflops", "bench/matmul_fp8_tflops", "bench/all_reduce_gb_per_s"}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(transfers._COPY_BYTES, "cpu", 8_000_000)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(folder: Path, **params: Any) -> list[Yield]:
    checked = KIND.params.model_validate({"sizes": [64], "seconds": 0.1, **params})
    return list(KIND.run(Context(params=checked, folder=folder)))


def figures(items: list[Yield]) -> dict[str, float]:
    return {item.name: item.value for item in items if isinstance(item, Metric)}


def test_everything_that_a_cpu_can_do_is_measured_and_named(tmp_path: Path) -> None:
    items = run(tmp_path)
    found = figures(items)
    assert set(found) == {
        name for name in LABELS if name not in NOT_OF_A_CPU and "device_" not in name
    } | {MEMORY}
    assert all(math.isfinite(value) and value > 0 for value in found.values())
    facts = {item.name: item.text for item in items if isinstance(item, Fact)}
    assert set(facts) == {"cpu cores", "cpu instructions"}
    steps = [item for item in items if isinstance(item, Progress)]
    assert [item.step for item in steps] == list(range(steps[0].total_steps + 1))


def test_those_precisions_that_are_asked_for(tmp_path: Path) -> None:
    found = figures(run(tmp_path, precisions=["bf16", "fp32", "bf16"]))
    assert [name for name in found if name in PRODUCTS] == [
        "bench/matmul_bf16_tflops",
        "bench/matmul_fp32_tflops",
    ]


def test_a_precision_that_the_device_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="cpu does not multiply in tf32 or fp8") as caught:
        run(tmp_path, precisions=["fp32", "tf32", "fp8"])
    assert caught.value.hint.startswith("it has fp64, fp32, fp16, bf16, int8;")


def test_what_pytorch_has_no_product_for_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_half(precision: str, left: Tensor, right: Tensor) -> Callable[[], Tensor]:
        if precision == "fp16":
            raise NotImplementedError("'addmm' not implemented for 'Half'\nand more")
        return product(precision, left, right)

    product = products.product
    monkeypatch.setattr(products, "product", without_half)
    items = run(tmp_path, precisions=["fp16", "fp32"])
    assert "bench/matmul_fp16_tflops" not in figures(items)
    assert figures(items)["bench/matmul_fp32_tflops"] > 0
    assert Fact(name="fp16 not measured", text="'addmm' not implemented for 'Half'") in items


@pytest.mark.parametrize("wrong", [1.02, math.nan])
def test_a_product_that_is_wrong_fails_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    monkeypatch.setattr(
        products, "product", lambda precision, left, right: lambda: wrong * (left @ right)
    )
    with pytest.raises(TaskError, match="two 64 x 64 matrices in fp32 on cpu is wrong: it differs"):
        run(tmp_path, precisions=["fp32"])
