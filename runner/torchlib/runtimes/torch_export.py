"""Programs of torch.export (.pt2) by PyTorch, operator by operator."""

from __future__ import annotations

from pathlib import Path

import torch

from runner.data.described import Described
from runner.data.opened import Opened
from runner.errors import TaskError
from runner.torchlib.device import prepare
from runner.torchlib.lines import reason
from runner.torchlib.measure import count_parameters
from runner.torchlib.runtimes.called import opened


def open_model(path: Path, described: Described, *, threads: int, device: str) -> Opened:
    """The program in the file ``path``, on ``device``.

    Raises TaskError if the file is no such program, or is damaged.
    """
    prepare(device, threads=threads)
    try:
        program = torch.export.load(path)
    except Exception as error:  # whatever the zip file, the JSON or the tensors in it make of it
        raise TaskError(
            f"PyTorch can't load {path}: {reason(error)}", hint="make the file again"
        ) from error
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    convolves = any(str(node.target).startswith("aten.conv2d") for node in nodes)
    # As for the model itself (see runner.torchlib.layout), which a graph does not tell by modules.
    layout = torch.channels_last if convolves else torch.contiguous_format
    module = program.module().to(device=device)
    if convolves:
        module.to(memory_format=layout)  # type: ignore[call-overload]
    return opened(
        module,
        device=device,
        layout=layout,
        operations={"torch": len(nodes)},
        parameters=count_parameters(module),
    )
