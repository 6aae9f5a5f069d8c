"""How fast GPUs can multiply matrices at most, as their makers have published it.

Dense, not with the sparsity that data sheets often count in. Sources: NVIDIA's data sheets of the
Tesla V100 (2018), T4 (2019), A100 (2020), L4 and L40S (2023), H100 (2022; NVL 2024), H200 (2024)
and HGX B200 (2024).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from runner.torchlib.precision import PrecisionName


class Peak(NamedTuple):
    """10^12 operations a second in half precision, in fp32 (TF32 where there is it), and in fp8."""

    half: float
    fp32: float
    fp8: float | None = None


# Whole names, as a slice of a device (MIG) has a longer one and less to give.
PEAKS = (
    (r"Tesla V100-SXM[23]-\d+GB(-LS)?", Peak(125.0, 15.7)),
    (r"Tesla V100-PCIE-\d+GB", Peak(112.0, 14.0)),
    (r"Tesla T4", Peak(65.0, 8.1)),
    (r"(NVIDIA )?A100-SXM4?-\d+GB|(NVIDIA )?A100-PCIE-\d+GB|NVIDIA A100 80GB PCIe",
     Peak(312.0, 156.0)),
    (r"NVIDIA L4", Peak(121.0, 60.0, 242.5)),
    (r"NVIDIA L40S", Peak(362.0, 183.0, 733.0)),
    (r"NVIDIA H100 80GB HBM3|NVIDIA H200", Peak(989.0, 494.7, 1979.0)),
    (r"NVIDIA H100 PCIe", Peak(756.0, 378.0, 1513.0)),
    (r"NVIDIA H(100|200) NVL", Peak(835.0, 417.5, 1670.5)),
    (r"NVIDIA B200", Peak(2250.0, 1125.0, 4500.0)),
)  # fmt: skip


def peak_of(device_name: str, precision: PrecisionName) -> float | None:
    """Operations a second of the device at most in ``precision``; None for an unknown device.

    That in fp8 is of products in fp8, though a training does some of its own in bf16.
    """
    for pattern, peak in PEAKS:
        if re.fullmatch(pattern, device_name):
            found = {"fp32": peak.fp32, "fp8": peak.fp8}.get(precision, peak.half)
            return None if found is None else 1e12 * found
    return None
