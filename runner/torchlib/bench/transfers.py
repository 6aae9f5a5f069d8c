"""How fast data moves: within a device's memory, between it and the host, and over a gang."""

from __future__ import annotations

import torch
import torch.distributed as dist

from runner.errors import TaskError
from runner.torchlib.bench.hardware import memory_bytes
from runner.torchlib.bench.timing import median_seconds

# More than caches hold; on a GPU enough to take a millisecond.
_COPY_BYTES = {"cpu": 256_000_000, "cuda": 1_000_000_000}
_HOST_BYTES = 256_000_000
_REDUCED_BYTES = {"cpu": 64_000_000, "cuda": 256_000_000}


def copy_gb_per_s(device: str) -> float:
    """How fast memory is copied within the device: 10^9 bytes a second, read and written ones.

    Raises TaskError where the copy is another than what was copied.
    """
    size = min(_COPY_BYTES[torch.device(device).type], memory_bytes(device) // 16)
    source, target = (
        _pattern(size, device),
        torch.zeros(size // 8, dtype=torch.int64, device=device),
    )
    taken_s = median_seconds(lambda: target.copy_(source), device=device)
    _check_copied(source, target, f"within {device}")
    return 2 * 8 * len(source) / taken_s / 1e9


def host_gb_per_s(device: str, *, pinned: bool) -> tuple[float, float]:
    """How fast memory is copied from the host to an accelerator, and back: 10^9 bytes a second.

    ``pinned`` is memory of the host that can't be paged out, from which the device reads by itself.
    Raises TaskError where what comes back is another than what was sent.
    """
    source = _pattern(_HOST_BYTES, "cpu")
    back = torch.zeros_like(source, pin_memory=pinned)
    source = source.pin_memory() if pinned else source
    there = torch.empty_like(source, device=device)
    to_s = median_seconds(lambda: there.copy_(source, non_blocking=pinned), device=device)
    from_s = median_seconds(lambda: back.copy_(there, non_blocking=pinned), device=device)
    _check_copied(source, back, f"to {device} and back")
    return _HOST_BYTES / to_s / 1e9, _HOST_BYTES / from_s / 1e9


def all_reduce_gb_per_s(device: str) -> float:
    """How fast the ranks of the process group add up a tensor: its bus bandwidth, 10^9 bytes a s.

    That is 2 (N - 1) / N times the tensor's bytes over the time: what each of N ranks has to send
    at the least, so that the figure stands beside that of a link, whatever N (as in NCCL's tests).

    Raises TaskError where the sum is wrong.
    """
    rank, ranks = dist.get_rank(), dist.get_world_size()
    tensor = torch.full((1024,), float(rank + 1), device=device)
    dist.all_reduce(tensor)
    if not bool((tensor == ranks * (ranks + 1) / 2).all()):
        raise TaskError(
            f"the sum over {ranks} ranks is wrong: {tensor[0].item():g} instead of "
            f"{ranks * (ranks + 1) / 2:g}",
            hint="the network between the nodes, or the library that reduces over it, is at fault",
        )
    size = _REDUCED_BYTES[torch.device(device).type]
    tensor = torch.zeros(size // 4, device=device)
    taken_s = median_seconds(lambda: dist.all_reduce(tensor), device=device)
    return 2 * (ranks - 1) / ranks * size / taken_s / 1e9


def slowest(figures: dict[str, float]) -> dict[str, float]:
    """Each figure as the rank has it that has the least of it; those that all ranks have."""
    gathered: list[dict[str, float]] = [{} for _ in range(dist.get_world_size())]
    dist.all_gather_object(gathered, figures)
    return {
        name: min(each[name] for each in gathered)
        for name in figures
        if all(name in each for each in gathered)
    }


def _pattern(size_bytes: int, device: str) -> torch.Tensor:
    return torch.arange(size_bytes // 8, dtype=torch.int64, device=device)


def _check_copied(source: torch.Tensor, target: torch.Tensor, where: str) -> None:
    if not torch.equal(source, target):
        raise TaskError(
            f"a copy of {source.nbytes:,} bytes {where} is not equal to what was copied",
            hint="the device's memory, its driver or its bus is at fault; keep work off it",
        )
