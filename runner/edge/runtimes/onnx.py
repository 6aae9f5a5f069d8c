"""ONNX files by ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from runner.data.classes import Array
from runner.data.described import Described
from runner.data.extras import need
from runner.data.opened import Opened
from runner.errors import TaskError

_NUMBERS = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


def open_model(path: Path, described: Described, *, threads: int, device: str) -> Opened:
    """The model in the file ``path``, with every optimisation that the runtime knows.

    ``device`` is ``cpu`` or ``cuda:N``. Raises TaskError if the package is missing, or the runtime
    refuses the file.
    """
    need("onnxruntime", package="onnxruntime", extra="edge", what=path.name)
    import onnxruntime

    # It would only warn, and compute on the CPU.
    if device.startswith("cuda") and "CUDAExecutionProvider" not in (
        onnxruntime.get_available_providers()
    ):
        raise TaskError(
            f"this task is on {device}, and ONNX Runtime as installed runs on CPUs alone",
            hint="install onnxruntime-gpu in its place, or leave accelerators out",
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        session = onnxruntime.InferenceSession(path, options, providers=_providers(device))
    except Exception as error:  # its exceptions have no base of their own
        raise TaskError(
            f"ONNX Runtime can't load {path}: {' '.join(str(error).split())[:400]}",
            hint="make the file again",
        ) from error
    (taken,) = session.get_inputs()
    numbers, outputs = _NUMBERS[taken.type], [session.get_outputs()[0].name]
    return Opened(
        ready=lambda inputs: {taken.name: np.ascontiguousarray(inputs, dtype=numbers)},
        call=lambda ready: _as_floats(session.run(outputs, ready)[0]),
        runtime=f"onnxruntime {onnxruntime.__version__}",
        operations=_operations(session),
    )


def _operations(session: Any) -> dict[str, int]:
    """How many nodes each execution provider has taken."""
    found: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        found[part.ep_name.removesuffix("ExecutionProvider").lower()] += len(part.get_nodes())
    return dict(found)


def _as_floats(outputs: Array) -> Array:
    return outputs if outputs.dtype == np.float32 else outputs.astype(np.float32)


def _providers(device: str) -> list[str | tuple[str, dict[str, str]]]:
    if not device.startswith("cuda"):
        return ["CPUExecutionProvider"]
    number = device.partition(":")[2] or "0"
    return [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]
