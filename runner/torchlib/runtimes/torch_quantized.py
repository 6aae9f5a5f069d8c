"""Models whose layers torchao has quantized, by PyTorch, operator by operator."""

from __future__ import annotations

from pathlib import Path

from runner.data.described import Described
from runner.data.opened import Opened
from runner.torchlib.device import prepare
from runner.torchlib.quantized import read_quantized
from runner.torchlib.runtimes.called import opened


def open_model(path: Path, described: Described, *, threads: int, device: str) -> Opened:
    """The model whose state is in the file ``path``, on ``device``."""
    prepare(device, threads=threads)
    model = read_quantized(path, described).to(device)
    return opened(model, device=device)
