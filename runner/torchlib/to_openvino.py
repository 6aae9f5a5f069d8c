"""A model of PyTorch as OpenVINO's files: the graph (.xml) and the weights (.bin)."""

from __future__ import annotations

import warnings
from pathlib import Path

from torch.export import ExportedProgram

from runner.data.extras import need
from runner.errors import TaskError
from runner.torchlib.lines import lines_of_operators, reason
from runner.torchlib.to_onnx import INPUT, OUTPUT


def write_openvino(program: ExportedProgram, path: Path, *, what: str) -> None:
    """Writes a graph of operators, of the model ``what``, to ``path`` (.xml) and a .bin beside it.

    Weights keep their precision; inputs and outputs are called as in ONNX files. Raises TaskError
    if the package is missing, or OpenVINO has none of an operator: the message names the line of
    the model's code.
    """
    need("openvino", package="openvino", extra="edge", what=path.name)
    import openvino

    (taken,) = (program.graph_signature.user_inputs,)
    shape = next(node.meta["val"].shape for node in program.graph.nodes if node.name == taken[0])
    try:
        with warnings.catch_warnings():  # of what is deprecated in its own code
            warnings.simplefilter("ignore")
            model = openvino.convert_model(program)
    except Exception as error:  # OpConversionFailure, which it does not export, is an Exception
        where = lines_of_operators(program.graph, str(error))
        raise TaskError(
            f"the {what} can't be written for OpenVINO"
            f"{f', because of {where}' if where else f': {reason(error)}'}",
            hint="change that line, or choose a format that takes all of PyTorch's operators",
        ) from error
    # Its converter forgets all sizes of the input where one is open.
    model.reshape([size if isinstance(size, int) else -1 for size in shape])
    model.inputs[0].get_tensor().set_names({INPUT})
    model.outputs[0].get_tensor().set_names({OUTPUT})
    openvino.save_model(model, path, compress_to_fp16=False)
