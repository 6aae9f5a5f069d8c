"""A model of PyTorch as an AOTInductor package: its operators compiled to machine code."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from runner.errors import TaskError
from runner.torchlib.compilation import check_compiler
from runner.torchlib.lines import line_of_error, reason


def write_aotinductor(
    program: ExportedProgram, path: Path, *, what: str, device: str = "cpu"
) -> None:
    """Compiles a graph of operators, of the model ``what``, into the package ``path`` (.pt2).

    It holds machine code for this kind of ``device`` and of processor, and the weights, arranged
    as the code wants them. Raises TaskError if there is no compiler, or it does not take the model.
    """
    check_compiler(device)
    if device != "cpu":
        program = move_to_device_pass(program, device)
    try:
        with torch.no_grad():  # weights are frozen into the code only where no gradient is asked
            torch._inductor.aoti_compile_and_package(
                program, package_path=str(path), inductor_configs={"freezing": True}
            )
    except Exception as error:  # of Inductor, of the C++ compiler, and of what lies between
        where = line_of_error(error)
        raise TaskError(
            f"AOTInductor can't compile the {what}{f', because of {where}' if where else ''}: "
            f"{reason(error)}",
            hint="choose another format, or change that line",
        ) from error
