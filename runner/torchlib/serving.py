"""A model of PyTorch out of its folder, to be called with arrays."""

from __future__ import annotations

from pathlib import Path

from runner.data.described import Described
from runner.data.opened import Opened
from runner.torchlib.artifact import load
from runner.torchlib.device import prepare
from runner.torchlib.layout import place
from runner.torchlib.measure import count_parameters
from runner.torchlib.runtimes.called import opened


def open_model(path: Path, described: Described, *, threads: int, device: str) -> Opened:
    """The model in the folder ``path``, in eval mode on ``device``."""
    prepare(device, threads=threads)
    model = load(path).model
    layout = place(model, device)
    return opened(model, device=device, layout=layout, parameters=count_parameters(model))
