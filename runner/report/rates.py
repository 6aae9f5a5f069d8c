"""What was measured of devices: the figures of a bench by name, and how they read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from runner.report import format as form
from runner.report.summary import Report
from runner.report.text import one_line

# Precisions by the metric that says how fast matrices are multiplied in them.
PRODUCTS = {
    "bench/matmul_fp64_tflops": "fp64",
    "bench/matmul_fp32_tflops": "fp32",
    "bench/matmul_tf32_tflops": "tf32",
    "bench/matmul_fp16_tflops": "fp16",
    "bench/matmul_bf16_tflops": "bf16",
    "bench/matmul_fp8_tflops": "fp8",
    "bench/matmul_int8_tops": "int8",
}
MEMORY, COPY, ALL_REDUCE = "memory/device_gb", "bench/copy_gb_per_s", "bench/all_reduce_gb_per_s"
LINKS = {
    "bench/host_to_device_pinned_gb_per_s": "to device, pinned",
    "bench/device_to_host_pinned_gb_per_s": "from device, pinned",
    "bench/host_to_device_pageable_gb_per_s": "to device, pageable",
    "bench/device_to_host_pageable_gb_per_s": "from device, pageable",
}
LABELS = {
    **{metric: f"products, {precision}" for metric, precision in PRODUCTS.items()},
    COPY: "copy within memory",
    **LINKS,
    ALL_REDUCE: "all-reduce, bus",
    MEMORY: "device's memory",
}
_HEADINGS = {
    **{
        metric: (precision, "TOP/s" if precision == "int8" else "TFLOP/s")
        for metric, precision in PRODUCTS.items()
    },
    COPY: ("copy", "GB/s"),
    "bench/host_to_device_pinned_gb_per_s": ("to device", "GB/s"),
    "bench/device_to_host_pinned_gb_per_s": ("from device", "GB/s"),
    ALL_REDUCE: ("all-reduce", "GB/s"),
    MEMORY: ("memory", "GB"),
}
MEANINGS = (
    (
        PRODUCTS,
        "Products",
        "rate of multiplying two random n × n matrices, at 2 n³ operations each: the median of ten "
        "calls after three to warm up, at the size that was fastest. Each product is compared with "
        "float64. Of several workers that of the slowest counts, here and below.",
    ),
    (
        (COPY,),
        "Copy within memory",
        "bytes read and bytes written per second; 1 GB is 10⁹ bytes. The sloping roof of the "
        "roofline.",
    ),
    (
        LINKS,
        "To and from the device",
        "bytes copied per second between the host's memory (pinned, or pageable) and the device's.",
    ),
    (
        (ALL_REDUCE,),
        "All-reduce",
        "bus bandwidth of a sum over N workers: 2 (N − 1) / N of the tensor's bytes per second, "
        "which stands beside the bandwidth of a link, whatever N.",
    ),
)


def definitions(names: Iterable[str]) -> list[tuple[str, str]]:
    """Terms and their meaning, of those metrics."""
    known = set(names)
    return [(term, meaning) for metrics, term, meaning in MEANINGS if known & set(metrics)]


def fastest(metrics: Mapping[str, float]) -> tuple[float, str] | None:
    """The highest rate of floating-point products, and its precision; None where none was timed."""
    rates = [
        (metrics[name], precision)
        for name, precision in PRODUCTS.items()
        if name in metrics and name.endswith("_tflops")
    ]
    return max(rates, default=None)


def in_words(metrics: Mapping[str, float]) -> str:
    """'does 0.918 TFLOP/s in bf16 and copies 27.9 GB/s'; empty without a product in floats."""
    best = fastest(metrics)
    if best is None:
        return ""
    rate, precision = best
    copies = f" and copies {form.gigabytes_per_s(metrics[COPY])}" if COPY in metrics else ""
    return f"does {form.teraflops(rate)} in {precision}{copies}"


def by_node(report: Report) -> list[list[str]]:
    """A row of cells for each task, under two of headings: the figure and its unit.

    The first cell names the node. Figures that no task has are left out, as are copies from and to
    pageable memory; a task that has none has dashes, and ends with its status.
    """
    found = {name for task in report.tasks for name in task.metrics}
    columns = [(name, *heading) for name, heading in _HEADINGS.items() if name in found]
    rows = [
        ["node", *(heading for _, heading, _ in columns), ""],
        ["", *(unit for _, _, unit in columns), ""],
    ]
    for task in report.tasks:
        node = task.node or next(iter(task.placement.get("nodes") or ()), task.name)
        cells = [
            form.significant(task.metrics[name]) if name in task.metrics else form.NONE
            for name, _, _ in columns
        ]
        status = "" if task.status == "finished" else task.status.replace("_", " ")
        rows.append([one_line(str(node)), *cells, status])
    return rows
