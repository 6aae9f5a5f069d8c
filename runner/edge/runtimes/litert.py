"""LiteRT files (.tflite) by the LiteRT interpreter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from runner.data.classes import Array
from runner.data.described import Described
from runner.data.extras import need
from runner.data.opened import Opened
from runner.errors import TaskError


def open_model(path: Path, described: Described, *, threads: int, device: str) -> Opened:
    """The model in the file ``path``, on the CPU with the XNNPACK delegate.

    Where its inputs or outputs are integers, floats are made into them and back by the scale and
    the zero point in the file. A file of a fixed batch is resized to what it is called with. Raises
    TaskError if the package is missing, or the interpreter refuses the file.
    """
    need("ai_edge_litert", package="ai-edge-litert", extra="edge", what=path.name)
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(path), num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise TaskError(
            f"LiteRT can't load {path}: {' '.join(str(error).split())[:400]}",
            hint="make the file again",
        ) from error
    (taken,), (given, *_) = interpreter.get_input_details(), interpreter.get_output_details()

    def call(ready: Any) -> Array:
        if interpreter.get_input_details()[0]["shape"][0] != len(ready):
            interpreter.resize_tensor_input(taken["index"], ready.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(taken["index"], ready)
        interpreter.invoke()
        outputs: Array = interpreter.get_tensor(given["index"])
        return _as_floats(outputs, given)

    return Opened(
        ready=lambda inputs: _as_taken(inputs, taken),
        call=call,
        runtime=f"LiteRT {version('ai-edge-litert')}",
        operations=_operations(interpreter._get_ops_details()),
    )


def _operations(details: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many operations XNNPACK has taken, and how many LiteRT's own kernels carry out.

    The interpreter lists the file's own and, after these, one for each part that was taken: what
    lies between the tensors that go into it and those that come out.
    """
    parts = [each for each in details if each["op_name"] == "DELEGATE"]
    own = [each for each in details if each["op_name"] != "DELEGATE"]
    makers = {int(tensor): each for each in own for tensor in each["outputs"]}
    taken: set[int] = set()
    for part in parts:
        ends, waiting = {int(tensor) for tensor in part["inputs"]}, list(part["outputs"])
        while waiting:
            tensor = int(waiting.pop())
            maker = None if tensor in ends else makers.get(tensor)
            if maker is not None and maker["index"] not in taken:
                taken.add(maker["index"])
                waiting += list(maker["inputs"])
    counts = {"xnnpack": len(taken), "litert": len(own) - len(taken)}
    return {who: count for who, count in counts.items() if count}


def _as_taken(inputs: Array, detail: Any) -> Array:
    """Samples in the tensor's numbers (LiteRT quantization: real = scale x (q - zero point))."""
    numbers = np.dtype(detail["dtype"])
    scale, zero = detail["quantization"]
    if numbers.kind == "f" or scale == 0:
        return np.ascontiguousarray(inputs, dtype=numbers)
    limits = np.iinfo(numbers)
    whole: Array = np.rint(inputs / scale + zero)
    return whole.clip(limits.min, limits.max).astype(numbers)


def _as_floats(outputs: Array, detail: Any) -> Array:
    scale, zero = detail["quantization"]
    if outputs.dtype.kind == "f" or scale == 0:
        scale, zero = 1.0, 0
    return (outputs.astype(np.float32) - np.float32(zero)) * np.float32(scale)
