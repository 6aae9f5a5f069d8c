"""ExecuTorch files (.pte) by the runtime that phones have, with XNNPACK."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from runner.data.classes import Array
from runner.data.described import Described
from runner.data.extras import need
from runner.data.opened import Opened
from runner.errors import TaskError
from runner.torchlib.layout import arrange
from runner.torchlib.lines import reason
from runner.torchlib.to_executorch import OPERATIONS


def open_model(path: Path, described: Described, *, threads: int, device: str) -> Opened:
    """The program in the file ``path``, on the CPU.

    Raises TaskError if the package is missing, or the runtime refuses the file.
    """
    need("executorch", package="executorch", extra="executorch", what=path.name)
    from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
    from executorch.runtime import Runtime

    # XNNPACK's threads: it has one for every core, unless told before it is used.
    _unsafe_reset_threadpool(threads)
    try:
        # The program has to outlive what is loaded of it.
        program = Runtime.get().load_program(path)
        method = program.load_method("forward")
    except RuntimeError as error:
        raise TaskError(
            f"ExecuTorch can't load {path}: {reason(error)}", hint="make the file again"
        ) from error

    def call(ready: Any, _program: Any = program) -> Array:
        try:
            outputs: Array = method.execute([ready])[0].float().numpy(force=True)
        except RuntimeError as error:
            raise TaskError(
                f"ExecuTorch can't run {path}: {reason(error)}",
                hint="its kernel for an operator does not take what the model gives it, of which "
                "the lines above tell; leave that operator out, or take another runtime",
            ) from error
        return outputs.copy()  # the next call writes to the same memory

    counted = path.with_name(OPERATIONS)
    return Opened(
        ready=lambda inputs: arrange(
            torch.from_numpy(np.ascontiguousarray(inputs)), torch.contiguous_format
        ),
        call=call,
        runtime=f"ExecuTorch {version('executorch')}",
        operations=json.loads(counted.read_text()) if counted.is_file() else {},
    )
