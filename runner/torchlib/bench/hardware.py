"""What a device is: its name, and how much memory it has."""

from __future__ import annotations

import os

import torch


def facts(device: str) -> dict[str, str]:
    """What names the device, in words: the GPU, or of a CPU its cores and instructions."""
    if torch.device(device).type == "cuda":
        about = torch.cuda.get_device_properties(device)
        return {
            "gpu": f"{about.name}, compute capability {about.major}.{about.minor}, "
            f"{about.multi_processor_count} multiprocessors, {about.total_memory / 1e9:.1f} GB"
        }
    return {
        "cpu cores": f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}",
        "cpu instructions": torch.backends.cpu.get_cpu_capability(),
    }


def memory_bytes(device: str) -> int:
    """The memory of the device: a GPU's own, or the machine's."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def capability(device: str) -> tuple[int, int] | None:
    """The compute capability of a CUDA device; None for a CPU."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_capability(device)
    return None
