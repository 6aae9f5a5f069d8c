"""Which runtime takes which form of a model."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from runner.data.described import Described, Framework, read_any
from runner.data.opened import Opened
from runner.errors import TaskError

Open = Callable[..., Opened]

# Modules with a function open_model(path, described, *, threads, device).
RUNTIMES = {
    "torch": "runner.torchlib.serving",
    "keras": "runner.tflib.serving",
    "saved-model": "runner.tflib.saved_model",
    "onnx": "runner.edge.runtimes.onnx",
    "openvino": "runner.edge.runtimes.openvino",
    "litert": "runner.edge.runtimes.litert",
    "torch-quantized": "runner.torchlib.runtimes.torch_quantized",
    "torch-export": "runner.torchlib.runtimes.torch_export",
    "aotinductor": "runner.torchlib.runtimes.aotinductor",
    "executorch": "runner.torchlib.runtimes.executorch",
}
# Those that TensorFlow runs.
OF_TENSORFLOW = ("keras", "saved-model")


def format_of(framework: Framework, described: Described) -> str:
    """The name in ``RUNTIMES`` of what takes such a model: its form, or else its framework."""
    return framework if described.form is None else described.form.format


def open_folder(folder: Path, *, threads: int, device: str) -> tuple[Described, Opened]:
    """The model in ``folder``, loaded by the runtime that its form is for, in this process.

    Raises TaskError if there is none that takes it, or if it does not.
    """
    framework, described = read_any(folder)
    form, name = described.form, format_of(framework, described)
    if name not in RUNTIMES:
        raise TaskError(
            f"{folder} holds a model as {name}, which nothing here runs",
            hint=f"there are runtimes for {', '.join(RUNTIMES)}",
        )
    path = folder if form is None else folder / form.file
    if not path.exists():
        raise TaskError(f"there is no {path}", hint="make the file again")
    open_model: Open = import_module(RUNTIMES[name]).open_model
    return described, open_model(path, described, threads=threads, device=device)
