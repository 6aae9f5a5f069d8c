"""What a process is set to before it computes, and where data lies."""

from __future__ import annotations

import subprocess
import sys

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
