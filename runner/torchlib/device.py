"""What a task computes on: its device and its threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from runner.errors import TaskError


def prepare(device: str, *, threads: int, deterministic: bool = False) -> None:
    """Make this process ready to compute on ``device`` with ``threads`` threads.

    A task gets as many threads as it asked for CPUs, so that tasks on one machine keep out of each
    other's way, and so that a result repeats: the order of a sum depends on their number.

    On a GPU, fp32 means products in TF32 (ten bits of each factor's fraction, summed in fp32) where
    it has that, and cuDNN takes for each shape the kernel that it finds fastest. With
    ``deterministic`` it takes one that gives the same bits each time, and so do all others; what
    has none raises RuntimeError. To be called before the process has used the GPU.

    Raises TaskError if PyTorch can't use the device here.
    """
    is_cuda = torch.device(device).type == "cuda"
    if is_cuda and not torch.cuda.is_available():
        build = "is built without CUDA" if torch.version.cuda is None else "finds no CUDA device"
        raise TaskError(
            f"the task was placed on a GPU, but PyTorch {torch.__version__} on this node {build}",
            hint="install a CUDA build of PyTorch on the cluster's GPU nodes, and their driver",
        )
    torch.set_num_threads(threads)
    if is_cuda:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = not deterministic
    if deterministic:
        # cuBLAS reads it when it starts: without, sums may be taken in an order of the moment.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.deterministic = True
        torch.use_deterministic_algorithms(True)


@contextmanager
def use_only(threads: int) -> Iterator[None]:
    """Computes with ``threads`` threads inside the ``with``, and as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
