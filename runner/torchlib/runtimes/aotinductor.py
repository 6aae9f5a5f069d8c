"""Packages of AOTInductor (.pt2): a model as machine code, called without Python's part in it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch

from runner.data.described import Described
from runner.data.opened import Opened
from runner.errors import TaskError
from runner.torchlib.device import prepare
from runner.torchlib.lines import reason
from runner.torchlib.runtimes.called import opened


def open_model(path: Path, described: Described, *, threads: int, device: str) -> Opened:
    """The package in the file ``path``, made for such a ``device`` and such a processor.

    Raises TaskError if the file is no such package, or is damaged.
    """
    prepare(device, threads=threads)
    try:
        # The loader writes out what it finds; whether that is whole, only the archive knows.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise TaskError(f"{path} is damaged: {damaged} in it", hint="make the file again")
        model = torch._inductor.aoti_load_package(str(path))
    except (zipfile.BadZipFile, RuntimeError, OSError) as error:
        raise TaskError(
            f"AOTInductor can't load {path}: {reason(error)}", hint="make the file again"
        ) from error
    return opened(model, device=device, by="AOTInductor")
