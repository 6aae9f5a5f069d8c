"""How fast a device multiplies large matrices, in each precision that it has."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from runner.errors import TaskError, Unmeasured
from runner.torchlib.bench import timing
from runner.torchlib.bench.hardware import capability, memory_bytes

# Of the device's memory, what the matrices of one product and the check of it may take.
_MEMORY_SHARE = 1 / 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbers:
    """The numbers of a precision, and how far a product may be from float64's (Frobenius norm).

    ``since`` is the compute capability from which GPUs multiply them; ``on_cpu`` whether CPUs do.
    """

    dtype: torch.dtype
    tolerance: float
    since: tuple[int, int] = (0, 0)
    on_cpu: bool = True


PRECISIONS = {
    "fp64": Numbers(dtype=torch.float64, tolerance=1e-12),
    "fp32": Numbers(dtype=torch.float32, tolerance=1e-4),
    "tf32": Numbers(dtype=torch.float32, tolerance=1e-2, since=(8, 0), on_cpu=False),
    "fp16": Numbers(dtype=torch.float16, tolerance=2e-2, since=(5, 3)),
    "bf16": Numbers(dtype=torch.bfloat16, tolerance=2e-2, since=(8, 0)),
    "fp8": Numbers(dtype=torch.float8_e4m3fn, tolerance=2e-2, since=(8, 9), on_cpu=False),
    "int8": Numbers(dtype=torch.int8, tolerance=0.0, since=(7, 5)),
}


def available(device: str) -> list[str]:
    """The precisions that ``device`` multiplies in, the widest first."""
    has = capability(device)
    return [
        name
        for name, numbers in PRECISIONS.items()
        if (numbers.on_cpu if has is None else has >= numbers.since)
    ]


def chosen(wanted: Sequence[str] | None, device: str) -> list[str]:
    """The precisions to multiply in: those wanted, or all that ``device`` has.

    Raises TaskError for one that it does not have.
    """
    has = available(device)
    missing = [name for name in wanted or () if name not in has]
    if missing:
        raise TaskError(
            f"{device} does not multiply in {' or '.join(missing)}, which precisions asks for",
            hint=f"it has {', '.join(has)}; leave precisions out to measure all of them",
        )
    return list(dict.fromkeys(wanted)) if wanted else has


def metric_name(precision: str) -> str:
    """``bench/matmul_fp32_tflops``; for whole numbers, which are no floats, ``..._tops``."""
    unit = "tops" if precision == "int8" else "tflops"
    return f"bench/matmul_{precision}_{unit}"


def matmul_tflops(
    precision: str, *, sizes: Sequence[int], seconds: float, device: str, seed: int
) -> float:
    """The highest rate, in 10^12 operations a second, of products of two n x n matrices.

    Tries each n of ``sizes`` in rising order, at least the first, as far as they would be through
    within ``seconds`` and fit into memory. A product is 2 n^3 operations; the matrices are random,
    as zeros would save power and so run faster. Each product is compared with float64.

    Raises Unmeasured where PyTorch can't multiply such numbers on the device, TaskError where a
    product is wrong.
    """
    started = time.perf_counter()
    generator = torch.Generator(device).manual_seed(seed)
    best, quickest_s, before = 0.0, 0.0, 0
    for n in sorted(sizes):
        left_s = math.inf
        if before:
            left_s = seconds - (time.perf_counter() - started)
            if quickest_s * (n / before) ** 3 > left_s or not _fits(n, precision, device):
                break
        try:
            calls_s = _time_product(precision, n, left_s=left_s, device=device, generator=generator)
        except NotImplementedError as error:  # what PyTorch has no kernel for
            raise Unmeasured(str(error).partition("\n")[0]) from error
        if not calls_s:
            break
        best = max(best, 2 * n**3 / statistics.median(calls_s) / 1e12)
        quickest_s, before = min(calls_s), n
    return best


def product(precision: str, left: Tensor, right: Tensor) -> Callable[[], Tensor]:
    """A call that multiplies ``left`` by ``right``, both n x n and of the precision's numbers.

    It gives float64, fp32, fp16 or bf16 as it takes them, bf16 for fp8, and int32 for int8.
    """
    if precision == "int8":
        by_columns = right.t().contiguous().t()
        return lambda: torch._int_mm(left, by_columns)
    if precision == "fp8":
        by_columns = right.t().contiguous().t()
        one = torch.ones((), device=left.device)
        return lambda: torch._scaled_mm(
            left, by_columns, scale_a=one, scale_b=one, out_dtype=torch.bfloat16
        )
    out = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=out)


def relative_error(left: Tensor, right: Tensor, result: Tensor) -> float:
    """How far ``result`` is from the product in float64, relative to that in the Frobenius norm.

    An estimate in n^2 operations, to which all entries contribute: both are applied to one random
    vector of signs (Freivalds 1977).
    """
    generator = torch.Generator(left.device).manual_seed(0)
    signs = torch.randint(
        0, 2, (right.shape[1],), generator=generator, device=left.device, dtype=torch.float64
    )
    signs = 2 * signs - 1
    expected = left.double() @ (right.double() @ signs)
    difference = result.double() @ signs - expected
    return float(difference.norm() / expected.norm())


def _time_product(
    precision: str, n: int, *, left_s: float, device: str, generator: torch.Generator
) -> list[float]:
    """The times of the calls at one size; none if they would take longer than ``left_s``.

    That is told by two calls of this size: where others are at work, those of a smaller one can be
    a hundred times too slow.
    """
    left, right = (_random(precision, n, device, generator) for _ in range(2))
    call = product(precision, left, right)
    with _exactly(precision, device):
        tried_s = min(timing.seconds(call, device=device) for _ in range(2))
        if tried_s * (timing.WARM_UP_CALLS + timing.TIMED_CALLS) > left_s:
            return []
        calls_s = timing.call_seconds(call, device=device)
        error = relative_error(left, right, call())
    allowed = PRECISIONS[precision].tolerance
    if not error <= allowed:  # not a number, too
        raise TaskError(
            f"the product of two {n} x {n} matrices in {precision} on {device} is wrong: it "
            f"differs from float64's by {error:.2g} of its norm, where {allowed:g} is allowed",
            hint="the device, its driver or PyTorch computes wrongly there; keep work off it",
        )
    return calls_s


def _random(precision: str, n: int, device: str, generator: torch.Generator) -> Tensor:
    dtype = PRECISIONS[precision].dtype
    if dtype == torch.int8:
        return torch.randint(-128, 128, (n, n), dtype=dtype, device=device, generator=generator)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return torch.randn(n, n, dtype=wide, device=device, generator=generator).to(dtype)


def _fits(n: int, precision: str, device: str) -> bool:
    """Whether three matrices, and two in float64 for the check, fit into our share of memory."""
    needed = n * n * (3 * PRECISIONS[precision].dtype.itemsize + 2 * torch.float64.itemsize)
    return needed <= memory_bytes(device) * _MEMORY_SHARE


@contextmanager
def _exactly(precision: str, device: str) -> Iterator[None]:
    """Has fp32 be multiplied as fp32 on a GPU, or as tf32 if that is what is meant."""
    if torch.device(device).type != "cuda":
        yield
        return
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision = before
