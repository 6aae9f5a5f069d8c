"""A model of PyTorch as an ExecuTorch file (.pte), its operators given to XNNPACK where it can."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

from torch.export import ExportedProgram

from runner.data.extras import need
from runner.errors import TaskError
from runner.torchlib.lines import line_of_error, lines_of_operators, reason

# Which operators were taken is only known while the file is made.
OPERATIONS = "operations.json"
_HINT = "change that line, or choose a format that takes all of PyTorch's operators"


def write_executorch(program: ExportedProgram, path: Path, *, what: str, hint: str = _HINT) -> None:
    """Writes a graph of operators of a fixed batch, of the model ``what``, to ``path``.

    Beside it, ``operations.json`` counts those that XNNPACK has taken, and those left to
    ExecuTorch's own kernels. Raises TaskError if the package is missing, or there is none for an
    operator: the message names the line of the model's code if it can, and ends in ``hint``.
    """
    need("executorch", package="executorch", extra="executorch", what=path.name)
    try:
        with warnings.catch_warnings():  # of what is deprecated in its own code
            warnings.simplefilter("ignore")
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
                XnnpackPartitioner,
            )
            from executorch.devtools.backend_debug import get_delegation_info
            from executorch.exir import to_edge_transform_and_lower

            edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
            counted = get_delegation_info(edge.exported_program().graph_module)
            made = edge.to_executorch().buffer
    except Exception as error:  # of its passes, its checker and its emitter, with no base in common
        where = lines_of_operators(program.graph, str(error)) or line_of_error(error)
        raise TaskError(
            f"the {what} can't be written for ExecuTorch"
            f"{f', because of {where}' if where else ''}: {reason(error)}",
            hint=hint,
        ) from error
    path.write_bytes(made)
    counts = {
        "xnnpack": counted.num_delegated_nodes,
        "executorch": counted.num_non_delegated_nodes,
    }
    path.with_name(OPERATIONS).write_text(json.dumps(counts) + "\n")
