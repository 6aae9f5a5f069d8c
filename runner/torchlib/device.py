"""What a task computes on: its device and its threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import torch

from runner.errors import TaskError


class Backend(NamedTuple):
    """A device that PyTorch knows once another package is imported, which brings ``torch.<name>``.

    ``module`` is what to import, ``package`` what to install, ``needs`` what that stands on.
    """

    module: str
    package: str
    needs: str


# As documented by Huawei (Ascend Extension for PyTorch) and Intel (Gaudi, PyTorch Model Porting).
BACKENDS = {
    "npu": Backend("torch_npu", "torch-npu", "CANN"),
    "hpu": Backend("habana_frameworks.torch", "habana-torch-plugin", "Intel's Gaudi software"),
}


def prepare(device: str, *, threads: int, deterministic: bool = False) -> None:
    """Make this process ready to compute on ``device`` with ``threads`` threads.

    A task gets as many threads as it asked for CPUs, so that tasks on one machine keep out of each
    other's way, and so that a result repeats: the order of a sum depends on their number.

    On a GPU, fp32 means products in TF32 (ten bits of each factor's fraction, summed in fp32) where
    it has that, and cuDNN takes for each shape the kernel that it finds fastest. With
    ``deterministic`` it takes one that gives the same bits each time, and so do all others; what
    has none raises RuntimeError. To be called before the process has used the GPU.

    What drives an NPU is a package of its own, which is imported here, and only where the task is
    on such a device.

    Raises TaskError if PyTorch can't use the device here.
    """
    kind = device.partition(":")[0]
    is_cuda = kind == "cuda"
    if kind not in ("cpu", "cuda"):
        _bring(kind)
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


def _bring(kind: str) -> None:
    """Imports what drives devices of this kind. Raises TaskError where nothing here does."""
    if kind not in BACKENDS:
        raise TaskError(
            f"the task was placed on {kind}, on which PyTorch does not compute",
            hint="ask for gpu:1 or cpu, or for an NPU by Huawei (Ascend) or Intel (Gaudi)",
        )
    module, package, needs = BACKENDS[kind]
    if find_spec(module.partition(".")[0]) is None:
        raise TaskError(
            f"the task was placed on an NPU ({kind}), but {package} is not installed on this node",
            hint=f"install {package} for PyTorch {torch.__version__}, and {needs}, on such nodes",
        )
    import_module(module)
    if not torch.get_device_module(kind).is_available():
        raise TaskError(
            f"the task was placed on an NPU, but {package} finds no {kind} on this node",
            hint=f"see whether {needs} and the device's driver are installed there",
        )


@contextmanager
def use_only(threads: int) -> Iterator[None]:
    """Computes with ``threads`` threads inside the ``with``, and as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
