"""Forms of one model that are tried: made by a runtime's quantizer, and asked for their answers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import TaskError
from runner.kinds.schemes import Choice, Runtime

if TYPE_CHECKING:
    from runner.data.classes import Array
    from runner.data.dataset import Dataset
    from runner.data.described import Format
    from runner.edge.platforms import Platform
    from runner.edge.quantizers.recipe import Recipe
    from runner.torchlib.artifact import LoadedModel
    from runner.torchlib.qat import Trained
    from runner.torchlib.xnnpack import Quantizable


@dataclass(frozen=True, kw_only=True, slots=True)
class _Maker:
    """What makes a runtime's files: ``quantize`` of a module, of what Source has as ``source``.

    Without a module Source does it itself. A file takes one row where it ``is_of_one``, unless told
    otherwise, or else any number.
    """

    format: Format
    file: str
    module: str = ""
    source: str = "onnx"
    parts: tuple[str, ...] = ()
    is_of_one: bool = False


_MAKERS: Mapping[Runtime, _Maker] = {
    "onnx": _Maker(module="runner.edge.quantizers.onnx", format="onnx", file="model.onnx"),
    "openvino": _Maker(
        module="runner.edge.quantizers.openvino",
        format="openvino",
        file="model.xml",
        parts=("model.bin",),
    ),
    "litert": _Maker(
        module="runner.edge.quantizers.litert",
        format="litert",
        file="model.tflite",
        source="litert",
        is_of_one=True,
    ),
    "executorch": _Maker(
        format="executorch",
        file="model.pte",
        parts=("operations.json",),
        is_of_one=True,
    ),
    "torch": _Maker(format="torch-quantized", file="model.pt"),
}
_CALLS = 3
# What a range of numbers that ends at 0 or 6 does as well.
_TAKEN_INTO_RANGES = ("Relu", "Clip")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Candidate:
    """A choice, made into ``folder`` after ``recipe``, in whose ``floats`` is what stayed so."""

    choice: Choice
    recipe: Recipe
    folder: Path


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """What candidates are made from: a model, what it is measured on, and samples to calibrate.

    ``scratch`` is a folder for what is tried, ``platform`` what it is to run on if not here, and
    ``trained`` what a training for int8-qat came to.
    """

    loaded: LoadedModel
    data: Dataset
    samples: Array
    parameters: int
    scratch: Path
    threads: int = 1
    device: str = "cpu"
    platform: Platform | None = None
    trained: Trained | None = None

    @property
    def rows(self) -> int | None:
        """The one number of rows that the platform takes; None for any."""
        if self.platform is None:
            return None
        rules = self.platform.constraints
        return rules.batch_size or (1 if rules.static_shapes else None)

    @cached_property
    def onnx(self) -> Path:
        """The model as an ONNX file, in floats. Raises TaskError if it can't be had."""
        from runner.torchlib.exporting import exported
        from runner.torchlib.lines import lines_of_modules
        from runner.torchlib.to_onnx import write_program

        path = self.scratch / "float.onnx"
        program = exported(self.loaded, batch_size=self.rows)
        write_program(program, path, what=str(self.loaded.spec))
        self.lower(path, lines_of_modules(program.graph))
        return path

    def lower(self, path: Path, lines: Mapping[str, str]) -> None:
        """Rewrites an ONNX file for the platform's opset. Raises TaskError if that can't be."""
        if self.platform is not None and self.platform.constraints.opset is not None:
            from runner.edge import opset

            opset.lower(path, self.platform.constraints.opset, lines)

    @cached_property
    def litert(self) -> Path:
        """The model as a LiteRT file, in floats, of batch 1 unless the platform takes another.

        Raises TaskError if it can't be had.
        """
        from runner.data.extras import need
        from runner.torchlib.exporting import exported

        need("litert_torch", package="litert-torch", extra="litert", what="a model for LiteRT")
        from runner.torchlib.to_litert import write_litert

        path = self.scratch / "float.tflite"
        program = exported(self.loaded, batch_size=self.rows or 1)
        write_litert(program, path, what=str(self.loaded.spec))
        return path

    @cached_property
    def quantizable(self) -> Quantizable:
        """The model as a graph for ExecuTorch. Raises TaskError if it can't be had."""
        from runner.torchlib.xnnpack import Quantizable

        return Quantizable(self.loaded, batch_size=self.rows or 1)

    def layers(self, choice: Choice) -> list[str]:
        """The names of the modules that compute, each of which can be left in float."""
        if choice.runtime == "executorch":
            return self.quantizable.layers(choice.scheme)
        from runner.edge.quantizers.onnx import layers

        return layers(self.onnx)

    @cached_property
    def _numbers(self) -> Iterator[int]:
        return count()

    def make(self, choice: Choice, recipe: Recipe, *, samples: int | None = None) -> Candidate:
        """Quantizes the model, with so many of the samples. Raises TaskError where it can't be."""
        if self.device != "cpu" and choice.runtime in ("openvino", "litert", "executorch"):
            raise TaskError(
                f"{choice.runtime} runs on a CPU, and this task is on {self.device}",
                hint="leave accelerators out, or take runtime onnx or torch",
            )
        maker, given = _MAKERS[choice.runtime], self.samples[:samples]
        if choice.runtime == "torch":
            return self._write(choice, recipe, maker, partial(self._in_torch, recipe))
        if choice.runtime == "executorch":
            put = partial(self._in_executorch, recipe, given)
            return self._write(choice, recipe, maker, put)
        if choice.scheme == "int8-qat":
            return self._write(choice, recipe, maker, partial(self._of_trained, recipe))
        quantize: Callable[..., None] = import_module(maker.module).quantize
        whole: Path = getattr(self, maker.source)
        put = partial(quantize, whole, recipe=recipe, samples=given)
        return self._write(choice, recipe, maker, put)

    def _in_torch(self, recipe: Recipe, file: Path) -> None:
        from runner.torchlib.quantized import write_quantized

        recipe.check("torchao", {"int8-dynamic": ("channel",), "fp8": ("channel",)})
        write_quantized(
            self.loaded,
            file,
            scheme=recipe.scheme,
            group_size=recipe.group_size if recipe.granularity == "group" else None,
            floats=recipe.floats,
            device=self.device,
        )

    def _in_executorch(self, recipe: Recipe, samples: Array, file: Path) -> None:
        recipe.check("XNNPACK", {"int8-dynamic": ("channel",)})
        self.quantizable.write(
            file,
            samples,
            scheme=recipe.scheme,
            granularity=recipe.granularity,
            group_size=recipe.group_size,
            floats=recipe.floats,
        )

    def _of_trained(self, recipe: Recipe, file: Path) -> None:
        from runner.torchlib.qat import rounded_again, write_trained

        assert self.trained is not None
        if recipe.floats == self.trained.floats:
            shutil.copy(self.trained.file, file)
            return
        rounded = rounded_again(self.loaded, self.trained, self.samples, floats=recipe.floats)
        write_trained(rounded, self.loaded, file, batch_size=self.rows)
        self.lower(file, {})

    def _write(
        self, choice: Choice, recipe: Recipe, maker: _Maker, put: Callable[[Path], None]
    ) -> Candidate:
        from runner.data.described import Described, Form, write

        form = Form(
            format=maker.format,
            file=maker.file,
            parts=maker.parts,
            scheme=choice.scheme,
            batch_size=self.rows or (1 if maker.is_of_one else None),
            parameters=self.parameters,
        )
        folder = self.scratch / f"{choice.name}-{next(self._numbers)}"
        write(
            folder,
            Described(**{**self.loaded.values(), "form": form}),
            framework="torch",
            put=lambda within: put(within / maker.file),
        )
        return Candidate(choice=choice, recipe=recipe, folder=folder)

    def without(self, recipe: Recipe, floats: Iterable[str]) -> Recipe:
        """The recipe with these layers left in float besides."""
        return replace(recipe, floats=(*recipe.floats, *floats))


def answers(candidate: Candidate, source: Source, inputs: Array) -> Array:
    """What it gives for these samples, as a fresh process loaded it.

    Raises TaskError if its runtime refuses it, or gives others once it has been called.
    """
    from runner.serving.measuring import check_same, fixed_rows
    from runner.serving.server import Server

    with Server(candidate.folder, threads=source.threads, device=source.device) as server:
        server.use(inputs)
        found = server.outputs()
        server.warm_up(fixed_rows(server, 1), _CALLS)
        check_same(server, found)
        return found


def answers_once(candidate: Candidate, source: Source, inputs: Array) -> Array:
    """As ``answers``; the candidate is removed, so that many of them take no more room than one."""
    try:
        return answers(candidate, source, inputs)
    finally:
        shutil.rmtree(candidate.folder)


def check_platform(source: Source, choice: Choice) -> None:
    """Raises TaskError, before anything is quantized, if the source's platform can't take it.

    Whoever quantizes OpenVINO files, or ONNX files by other schemes than these, puts other
    operators in the place of those that there are.
    """
    platform, runtime = source.platform, choice.runtime
    if platform is None or runtime != platform.formats[0]:
        return
    from runner.edge import held, targets

    if runtime == "litert":
        targets.check_operators(platform, held.read(source.litert, runtime).operators)
    if runtime == "onnx" and choice.scheme in ("int8-static", "int8-qat"):
        kept = [
            each
            for each in held.read(source.onnx, runtime).operators
            if each.name not in _TAKEN_INTO_RANGES
        ]
        targets.check_operators(platform, kept)


def check_taken(candidate: Candidate, source: Source) -> None:
    """Raises TaskError if the source's platform does not take what the candidate's file holds."""
    from runner.edge import held, litert_file

    platform, runtime = source.platform, candidate.choice.runtime
    if platform is None:
        return
    file = candidate.folder / _MAKERS[runtime].file
    if platform.constraints.full_integer:
        litert_file.check_full_integer(litert_file.read(file))
    held.check(file, platform, runtime, {})


def fit(candidate: Candidate, source: Source) -> None:
    """Makes a candidate's folder ready for the compiler of the source's platform, if it has one.

    Raises TaskError if the file is not what the platform takes.
    """
    from runner.edge import targets

    check_taken(candidate, source)
    if source.platform is not None:
        file = candidate.folder / _MAKERS[candidate.choice.runtime].file
        targets.lay_out(candidate.folder, source.platform, file, is_quantized=True)
