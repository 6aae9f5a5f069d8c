"""OpenVINO's IR by OpenVINO."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from runner.data.described import Described
from runner.data.extras import need
from runner.data.opened import Opened
from runner.errors import TaskError


def open_model(path: Path, described: Described, *, threads: int, device: str) -> Opened:
    """The model in the files ``path`` (.xml) and the .bin beside it, on the CPU.

    Raises TaskError if the package is missing, or the runtime refuses the file.
    """
    _, runs = compiled(path, threads=threads)
    import openvino

    numbers = np.dtype(runs.input(0).get_element_type().to_dtype())
    return Opened(
        ready=lambda inputs: np.ascontiguousarray(inputs, dtype=numbers),
        # Called so, it is a sixth faster for small models than by a request for inference. What it
        # gives is its own memory, which the next call writes to.
        call=lambda ready: np.array(runs(ready)[0], dtype=np.float32),
        operations=_operations(runs),
        runtime=f"openvino {openvino.__version__.split('-')[0]}",
    )


def compiled(path: Path, *, threads: int) -> tuple[Any, Any]:
    """The model in ``path``, and as OpenVINO has compiled it for this CPU.

    It computes in the numbers of the file: the runtime's own choice, bfloat16 where the CPU has it,
    gives other answers than the model that was exported. Raises TaskError if the package is
    missing, or the runtime refuses the file.
    """
    need("openvino", package="openvino", extra="edge", what=path.name)
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": str(threads),
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    try:
        model = core.read_model(path)
        return model, core.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise TaskError(
            f"OpenVINO can't load {path}: {' '.join(str(error).split())[:400]}",
            hint="make the file again",
        ) from error


def _operations(runs: Any) -> dict[str, int]:
    """How many operations have kernels made for this CPU, and how many the plain reference's."""
    found: Counter[str] = Counter()
    for each in runs.get_runtime_model().get_ordered_ops():
        info = each.get_rt_info()
        if info["layerType"].astype(str) not in ("Input", "Const", "Output"):
            is_plain = info["primitiveType"].astype(str).startswith("ref")
            found["reference" if is_plain else "cpu"] += 1
    return dict(found)
