"""What a task computes on: its device and its threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from runner.errors import TaskError


def prepare(device: str, *, threads: int) -> None:
    """Make this process ready to compute on ``device`` with ``threads`` threads.

    A task gets as many threads as it asked for CPUs, so that tasks on one machine keep out of each
    other's way, and so that a result repeats: the order of a sum depends on their number.

    Raises TaskError if PyTorch can't use the device here.
    """
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        build = "is built without CUDA" if torch.version.cuda is None else "finds no CUDA device"
        raise TaskError(
            f"the task was placed on a GPU, but PyTorch {torch.__version__} on this node {build}",
            hint="install a CUDA build of PyTorch on the cluster's GPU nodes, and their driver",
        )
    torch.set_num_threads(threads)


@contextmanager
def use_only(threads: int) -> Iterator[None]:
    """Computes with ``threads`` threads inside the ``with``, and as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
