"""The forms that a model of PyTorch is exported to, each a folder that its own runtime takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch
from torch.export import ExportedProgram

from runner.data.described import Described, Form, Format, write
from runner.data.extras import need
from runner.torchlib.artifact import LoadedModel
from runner.torchlib.exporting import exported, with_preprocessing
from runner.torchlib.lines import lines_of_modules
from runner.torchlib.measure import count_parameters

FILES: dict[Format, str] = {
    "torch-export": "model.pt2",
    "aotinductor": "model.pt2",
    "onnx": "model.onnx",
    "openvino": "model.xml",
    "litert": "model.tflite",
    "executorch": "model.pte",
}
PARTS: dict[Format, tuple[str, ...]] = {
    "openvino": ("model.bin",),
    "executorch": ("operations.json",),
}
# Module, package and extra of what writes a format, or runs it.
_PACKAGES: dict[Format, tuple[tuple[str, str, str], ...]] = {
    "onnx": (
        ("onnx", "onnx", "edge"),
        ("onnxscript", "onnxscript", "edge"),
        ("onnxruntime", "onnxruntime", "edge"),
    ),
    "openvino": (("openvino", "openvino", "edge"),),
    "litert": (
        ("litert_torch", "litert-torch", "litert"),
        ("ai_edge_litert", "ai-edge-litert", "edge"),
    ),
    "executorch": (("executorch", "executorch", "executorch"),),
}
Then: TypeAlias = Callable[[Path, Mapping[str, str]], None]
"""What is done with a file; it gets the lines of the model's code by the modules' names, too."""

# Their converters write what is called once for each sample: the batch is one, unless given.
_OF_ONE: tuple[Format, ...] = ("litert", "executorch")


def check_packages(formats: Sequence[Format]) -> None:
    """Raises TaskError, with the line that installs it, if a package is missing for a format."""
    for each in formats:
        for module, package, extra in _PACKAGES.get(each, ()):
            need(module, package=package, extra=extra, what=f"the format {each}")


def write_form(
    folder: Path,
    loaded: LoadedModel,
    *,
    format: Format,
    batch_size: int | None = None,
    takes_raw: bool = False,
    change: Callable[[ExportedProgram], None] = lambda program: None,
    then: Then = lambda file, lines: None,
) -> None:
    """Writes the model as ``format`` to ``folder``, which appears whole or not at all.

    Without a ``batch_size`` it takes any number of rows, but of formats whose converters ask for
    one, which is 1 then. With ``takes_raw`` it takes samples as they were before the preprocessing,
    which is inside. ``change`` may alter its graph before it is written, ``then`` the file before
    the folder appears. Raises TaskError if the format can't hold the model, and says why, with the
    line of the model's code where that is told.
    """
    rows = batch_size or (1 if format in _OF_ONE else None)
    form = Form(
        format=format,
        file=FILES[format],
        parts=PARTS.get(format, ()),
        batch_size=rows,
        takes_raw=takes_raw,
        parameters=count_parameters(loaded.model),
    )
    write(
        folder,
        Described(**{**loaded.values(), "form": form}),
        framework="torch",
        put=partial(
            _put,
            loaded=with_preprocessing(loaded) if takes_raw else loaded,
            format=format,
            rows=rows,
            change=change,
            then=then,
        ),
    )


def _put(
    folder: Path,
    *,
    loaded: LoadedModel,
    format: Format,
    rows: int | None,
    change: Callable[[ExportedProgram], None],
    then: Then,
) -> None:
    file, what = folder / FILES[format], str(loaded.spec)
    program = exported(loaded, batch_size=rows)
    change(program)
    if format == "torch-export":
        torch.export.save(program, file)
    elif format == "aotinductor":
        from runner.torchlib.to_aotinductor import write_aotinductor

        write_aotinductor(program, file, what=what)
    elif format == "onnx":
        from runner.torchlib.to_onnx import write_program

        write_program(program, file, what=what)
    elif format == "openvino":
        from runner.torchlib.to_openvino import write_openvino

        write_openvino(program, file, what=what)
    elif format == "litert":
        from runner.torchlib.to_litert import write_litert

        write_litert(program, file, what=what)
    else:
        from runner.torchlib.to_executorch import write_executorch

        write_executorch(program, file, what=what)
    then(file, lines_of_modules(program.graph))
