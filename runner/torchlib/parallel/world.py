"""How the ranks of a gang meet, and the mesh they form."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import Store, TCPStore
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from runner.errors import TaskError
from runner.meeting import hear, tell
from runner.model import Widths
from runner.storage import Place

RENDEZVOUS = "rendezvous"
T = TypeVar("T")

DIMENSIONS = ("pp", "dp_replicate", "dp_shard", "tp")


@contextmanager
def joined(
    *, folder: Place, host: str, rank: int, world_size: int, device: str, timeout_s: float
) -> Iterator[None]:
    """A process group of all ranks for as long as the ``with`` lasts: NCCL on GPUs, gloo on CPUs.

    Rank 0 holds the store by which they meet, at a free port of ``host``, and says where in a file
    in ``folder``, which every rank must reach. ``timeout_s`` bounds the meeting and every later
    collective. Raises TaskError if the ranks don't meet.
    """
    limit = timedelta(seconds=timeout_s)
    if host.startswith("127."):
        # Gloo would ask for the host's name and take the address that it finds for that.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    backend = "gloo" if torch.device(device).type == "cpu" else "cpu:gloo,cuda:nccl"
    store = _open(folder / RENDEZVOUS, host, world_size, limit) if rank == 0 else None
    if store is None:
        store = _find(folder / RENDEZVOUS, world_size, limit)
    try:
        dist.init_process_group(
            backend, store=store, rank=rank, world_size=world_size, timeout=limit
        )
    except dist.DistError as error:
        raise TaskError(
            f"rank {rank} of {world_size} did not meet the others: {error}",
            hint="the nodes must reach each other's ports",
        ) from error
    yield
    # Only after success: where a rank has failed, there is nobody left to agree with on an end.
    dist.destroy_process_group()


def _open(file: Place, host: str, world_size: int, limit: timedelta) -> Store:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.bind((host, 0))
    listening.listen(world_size)
    port = listening.getsockname()[1]
    store = TCPStore(
        host,
        port,
        world_size,
        is_master=True,
        timeout=limit,
        wait_for_workers=False,
        master_listen_fd=listening.detach(),
    )
    tell(file, f"{host} {port}")
    return store


def _find(file: Place, world_size: int, limit: timedelta) -> Store:
    until_s = time.monotonic() + limit.total_seconds()
    meeting = hear(file, whose="rank 0", until_s=until_s)
    host, port = meeting.split()
    return TCPStore(
        host, int(port), world_size, is_master=False, timeout=limit, wait_for_workers=False
    )


def make_mesh(widths: Widths, device: str) -> DeviceMesh:
    """The mesh of all ranks: those of pp, dp_replicate, dp_shard and tp that are wider than 1.

    Ranks that follow each other differ in tp first: they talk most, and lie on one node. A
    dimension of width 1 would be a group of its own on every rank, and a group of gloo has threads
    that wake a hundred times a second. Only FSDP needs its dimension at any width.
    """
    sizes = {
        name: size
        for name in DIMENSIONS
        if (size := getattr(widths, name)) > 1 or (name == "dp_shard" and widths.strategy == "fsdp")
    } or {"dp_replicate": 1}
    return init_device_mesh(
        torch.device(device).type, tuple(sizes.values()), mesh_dim_names=tuple(sizes)
    )


def rank_along(mesh: DeviceMesh, dimension: str) -> int:
    """This rank's place along a dimension that ``make_mesh`` may have left out."""
    return mesh.get_local_rank(dimension) if dimension in names_of(mesh) else 0


def names_of(mesh: DeviceMesh) -> tuple[str, ...]:
    """The dimensions that the mesh has."""
    return mesh.mesh_dim_names or ()


def memory_bytes(device: str, ranks: int) -> int:
    """The memory that a rank has: its GPU's, or an even part of this machine's on CPUs."""
    if torch.device(device).type == "cuda":
        total: int = torch.cuda.get_device_properties(device).total_memory
        return total
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // ranks


def agreed(decision: bool) -> bool:
    """What rank 0 decides, on every rank: devices need not be alike."""
    found = [decision]
    dist.broadcast_object_list(found, src=0)
    return found[0]


def gathered(value: T) -> list[T] | None:
    """What every rank has, in their order, on rank 0; None on every other."""
    found: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(value, found)
    return found
