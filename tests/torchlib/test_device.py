"""What a process is set to before it computes, and where data lies."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from runner.errors import TaskError
from runner.torchlib.device import prepare
from runner.torchlib.transfer import gather, send, settle

STATE = """
import os, sys, torch
from runner.torchlib.device import prepare
prepare("cpu", threads=1, deterministic={deterministic})
print(torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic,
      os.environ.get("CUBLAS_WORKSPACE_CONFIG"), "torch._inductor" in sys.modules)
"""


# In a process of its own, as what it sets holds for all that comes after.
@pytest.mark.parametrize(
    ("deterministic", "expected"),
    [(True, "True True :4096:8 True"), (False, "False False None False")],
)
def test_deterministic(deterministic: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    code = STATE.format(deterministic=deterministic)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="PyTorch finds a CUDA device")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(TaskError, match="the task was placed on a GPU, but PyTorch"):
        prepare("cuda", threads=1)


def test_on_a_cpu_data_stays_where_it_is() -> None:
    column = torch.arange(12).view(6, 2)
    assert settle([column], "cpu")[0] is column
    assert send(column, "cpu") is column
    rows = gather(column, torch.tensor([4, 0, 4]), "cpu")
    assert rows.tolist() == [[8, 9], [0, 1], [8, 9]]


# Stands in for Huawei's package, which only loads where CANN is installed: it brings torch.npu.
TORCH_NPU = """
import types, torch
torch.utils.rename_privateuse1_backend("npu")
module = types.ModuleType("torch.npu")
module.is_available = lambda: {found}
torch._register_device_module("npu", module)
"""
ON_AN_NPU = """
import sys
from runner.errors import TaskError
from runner.torchlib.device import prepare
prepare("cpu", threads=1)
assert "torch_npu" not in sys.modules  # where nothing asks for it
try:
    prepare("npu", threads=1)
    import torch
    print(torch.device("npu:0"), "torch_npu" in sys.modules)
except TaskError as error:
    print(error.message, "|", error.hint)
"""


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        (TORCH_NPU.format(found=True), "npu:0 True"),
        (TORCH_NPU.format(found=False), "torch-npu finds no npu on this node | see whether CANN"),
        (None, "torch-npu is not installed on this node | install torch-npu for PyTorch"),
    ],
)
def test_what_drives_an_npu_is_imported_where_a_task_is_on_one(
    package: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if package is None and find_spec("torch_npu") is not None:
        pytest.skip("torch_npu is installed here")
    if package is not None:
        (tmp_path / "torch_npu.py").write_text(package)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", ON_AN_NPU], capture_output=True, text=True, check=True
    )
    assert expected in done.stdout


@pytest.mark.parametrize("device", ["neuron_cores", "npu-coral"])
def test_a_device_that_pytorch_does_not_compute_on(device: str) -> None:
    with pytest.raises(TaskError, match=f"placed on {device}, on which PyTorch does not compute"):
        prepare(device, threads=1)
