"""Kind bench on a GPU: every precision that it has, and the way to it and back."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from runner.kinds import find
from runner.model import Context, Fact, Metric
from runner.report.rates import LINKS, PRODUCTS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA device"),
]


def test_a_gpu_is_named_and_measured_in_each_precision_it_has(tmp_path: Path) -> None:
    kind = find("bench")
    context = Context(
        params=kind.params.model_validate({"seconds": 3.0}), folder=tmp_path, device="cuda"
    )
    items = list(kind.run(context))
    (name,) = (item.text for item in items if isinstance(item, Fact) and item.name == "gpu")
    assert torch.cuda.get_device_name() in name
    found = {item.name: item.value for item in items if isinstance(item, Metric)}
    assert all(math.isfinite(value) and value > 0 for value in found.values())
    assert set(LINKS) <= set(found)
    expected = {"fp64", "fp32", "fp16"}
    major, minor = torch.cuda.get_device_capability()
    expected |= {"int8"} if (major, minor) >= (7, 5) else set()
    expected |= {"tf32", "bf16"} if major >= 8 else set()
    expected |= {"fp8"} if (major, minor) >= (8, 9) else set()
    assert {PRODUCTS[each] for each in found if each in PRODUCTS} == expected
    if major >= 8:
        # Tensor cores: a figure that says otherwise was taken in another precision.
        assert found["bench/matmul_bf16_tflops"] > found["bench/matmul_fp32_tflops"]


def test_what_multiplies_fp32_afterwards_does_so_as_before(tmp_path: Path) -> None:
    kind = find("bench")
    params = kind.params.model_validate({"sizes": [64], "seconds": 0.1})
    before = torch.backends.cuda.matmul.fp32_precision
    list(kind.run(Context(params=params, folder=tmp_path, device="cuda")))
    assert torch.backends.cuda.matmul.fp32_precision == before
