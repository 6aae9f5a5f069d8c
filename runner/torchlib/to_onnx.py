"""A model of PyTorch as an ONNX file."""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from runner.data.extras import need
from runner.errors import TaskError
from runner.torchlib.artifact import LoadedModel
from runner.torchlib.exporting import exported
from runner.torchlib.lines import line_in, lines_of_operators

# What PyTorch writes best, and newer runtimes take; runner.edge.opset makes it older.
OPSET = 18
INPUT, OUTPUT = "inputs", "outputs"
_SCOPES = "pkg.torch.onnx.name_scopes"
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def write_onnx(loaded: LoadedModel, path: Path, *, batch_size: int | None = None) -> None:
    """Writes the model as one file, its weights inside, that ONNX's checker accepts.

    Its input ``inputs`` are samples as the model takes them, (rows, *input_shape), its output
    ``outputs`` the logits. Without a ``batch_size`` it takes any number of rows. Nodes are named
    after the module that they come from. Raises TaskError if a package is missing, or an operator
    of the model has no form in ONNX; the message names the line of the model's code.
    """
    write_program(exported(loaded, batch_size=batch_size), path, what=str(loaded.spec))


def write_program(program: torch.export.ExportedProgram, path: Path, *, what: str) -> None:
    """As ``write_onnx``, for a graph of operators that was made before, of the model ``what``."""
    for module in ("onnx", "onnxscript"):
        need(module, package=module, extra="edge", what=path.name)
    import onnx

    try:
        with _quiet():
            made = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                external_data=False,
                verbose=False,
            )
        assert made is not None
        model = made.model_proto
        _name_nodes(model)
        _strip(model.graph)
        onnx.checker.check_model(model, full_check=True)
    except torch.onnx.errors.OnnxExporterError as error:
        reason = _reason(error)
        where = line_in(reason) or lines_of_operators(program.graph, reason)
        raise TaskError(
            f"the {what} can't be written as ONNX{f', because of {where}' if where else ''}: "
            f"{reason[:400]}",
            hint="change that line, or choose a format that takes all of PyTorch's operators",
        ) from error
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise TaskError(f"ONNX's checker refuses the file of the {what}: {error}") from error
    onnx.save_model(model, str(path))


def _name_nodes(model: Any) -> None:
    """Gives every node a name of the form ``blocks.0.attention.qkv/MatMul``: module, operator.

    A layer's own operator bears its name, also where what followed it has been folded into it.
    """
    weights = {each.name for each in model.graph.initializer}
    taken: set[str] = set()
    for node in model.graph.node:
        scopes = next((each.value for each in node.metadata_props if each.key == _SCOPES), "[]")
        module = next((name for name in reversed(ast.literal_eval(scopes)[:-1]) if name), "")
        own = [name for name in node.input if name in weights and name.endswith(".weight")]
        if own and node.op_type in _LAYERS:
            module = own[0].removesuffix(".weight")
        if module.startswith("_empty_nn_module_stack"):
            module = ""
        plain = f"{module}/{node.op_type}" if module else node.op_type
        name, count = plain, 1
        while name in taken:
            count += 1
            name = f"{plain}_{count}"
        taken.add(name)
        node.name = name


def _strip(graph: Any) -> None:
    """Takes out what the exporter notes of each line of code: large, with paths of this machine."""
    for each in (graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input):
        del each.metadata_props[:]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _strip(attribute.g)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the steps that the exporter prints, and what it warns of in its own code."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _reason(error: BaseException) -> str:
    cause = error.__cause__ or error
    return "\n".join(line for line in str(cause).splitlines() if line.strip())
