"""The platforms that a model can be shipped to: what each has and takes, and who says so.

``platforms.yaml``, beside this file, holds those that come with runner; a file of the user's own
has the same shape, a map of names to what ``Platform`` says. A figure without a source is one that
nobody has verified, and is shown as such wherever it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import BeforeValidator, Field, TypeAdapter, model_validator

from runner.parameters import Parameters, PositiveInt

Precision: TypeAlias = Literal["fp32", "bf16", "fp16", "fp8", "int8", "int4"]
Format: TypeAlias = Literal["onnx", "openvino", "litert", "executorch"]
Device: TypeAlias = Literal["cpu", "gpu", "npu"]
Scheme: TypeAlias = Literal["int8-dynamic", "int8-static"]
DType: TypeAlias = Literal["float32", "float16", "int8", "uint8"]

BYTES: dict[str, float] = {
    "fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.5,
}  # fmt: skip

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"
OWN = Path(__file__).with_name("platforms.yaml")

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Positive = Annotated[float, Field(gt=0.0, le=1e12)]


def _bare(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"value": value}
    if not isinstance(value, dict | Figure):
        raise ValueError("expected a number, or a map such as {value: 4, source: the data sheet}")
    return value


class Figure(Parameters):
    """A number and where it comes from: {value: 4, source: the data sheet}, or the number alone."""

    value: Positive = Field(description="in the unit that the field's name ends in")
    source: str | None = Field(
        None, min_length=1, description="who says so; without, the figure is unverified"
    )

    @property
    def is_verified(self) -> bool:
        """Whether somebody is named who says so."""
        return self.source is not None


class Rate(Figure):
    """A peak rate and where it comes from."""

    sparse: bool = Field(
        False,
        description="the figure counts 2:4 sparsity, as data sheets often do; half of it is dense",
    )

    @property
    def dense(self) -> float:
        """The rate on a model that is not pruned 2:4, which has half of it (NVIDIA 2020, A100)."""
        return self.value / 2 if self.sparse else self.value


AnyFigure = Annotated[Figure, BeforeValidator(_bare)]
AnyRate = Annotated[Rate, BeforeValidator(_bare)]


class Constraints(Parameters):
    """What a file must be like to be taken."""

    static_shapes: bool = Field(False, description="every tensor's shape is known when it is made")
    batch_size: PositiveInt | None = Field(None, description="the only batch size that is taken")
    full_integer: bool = Field(
        False, description="every tensor is of integers, so that no float is left in the file"
    )
    io: list[DType] = Field(
        default_factory=list, description="what inputs and outputs may be; without, any"
    )
    activations: Literal["symmetric"] | None = Field(
        None, description="how activations are quantized: symmetric has its zero at zero"
    )
    opset: PositiveInt | None = Field(None, description="the newest ONNX opset that is taken")


class Compiler(Parameters):
    """What makes the file for the device out of one that is taken, where the device needs that."""

    name: str = Field(min_length=1, description="the program")
    version: str | None = Field(None, description="the version that the command is for")
    commands: Annotated[list[str], Field(min_length=1)] = Field(
        description="its commands, one after the other, in the folder of the file; {file} is the "
        "file's name, {stem} that without its ending"
    )
    commands_for_floats: list[str] | None = Field(
        None, min_length=1, description="those for a file that is not quantized, if they differ"
    )
    makes: str = Field(min_length=1, description="the file that comes out, with {stem}")
    runs_on: str = Field(min_length=1, description="where the compiler runs")
    source: str | None = Field(None, description="where the commands come from")

    @model_validator(mode="after")
    def _places_are_known(self) -> Compiler:
        for text in (*self.commands, *(self.commands_for_floats or ()), self.makes):
            try:
                text.format(file="model.onnx", stem="model")
            except (KeyError, IndexError, ValueError) as error:
                raise ValueError(
                    f"'{text}' has a place in braces other than {{file}} and {{stem}} ({error}); "
                    "expected these only, and {{ }} for braces themselves"
                ) from None
        return self


class Platform(Parameters):
    """A device that a model can be shipped to."""

    title: str = Field(min_length=1, description="what people call it")
    device: Device = Field(description="what computes")
    status: Literal["current", "end of life", "imagined"] = Field(
        description="whether it can be had: imagined is for what does not exist yet"
    )
    memory_gb: AnyFigure | None = Field(
        None, description="memory for the model, 1e9 bytes; without, that of the host it is put in"
    )
    memory_gb_per_s: AnyFigure | None = Field(
        None, description="how fast that memory, or the link to it, is read"
    )
    on_chip_mb: AnyFigure | None = Field(
        None,
        description="memory beside the arithmetic, 1e6 bytes: weights that fit into it are not "
        "read again for every inference",
    )
    watts: AnyFigure | None = Field(None, description="power at the rates given")
    tops: Annotated[dict[Precision, AnyRate], Field(min_length=1)] = Field(
        description="1e12 operations a second at most, by precision, where a multiplication and "
        "an addition are two"
    )
    formats: Annotated[list[Format], Field(min_length=1)] = Field(
        description="the files that it, or its compiler, takes; the best first"
    )
    precision: Precision | None = Field(
        None, description="what the file is to hold; without, whatever it has a rate for"
    )
    scheme: Scheme | None = Field(None, description="how the file is to be quantized for it")
    operators: dict[str, PositiveInt | None] | None = Field(
        None,
        description="the operators that it takes, by their names in the first of its formats, each "
        "with the newest version that is taken, or null for any; without, all are taken",
    )
    constraints: Constraints = Field(default_factory=Constraints)
    compiler: Compiler | None = Field(None, description="what makes the device's own file")
    notes: list[str] = Field(default_factory=list, description="what else to know")

    @model_validator(mode="after")
    def _goes_together(self) -> Platform:
        if self.precision is None and self.scheme is not None:
            raise ValueError("'scheme' goes with 'precision' only")
        if self.scheme is not None and self.precision != "int8":
            raise ValueError(f"scheme {self.scheme} makes int8; expected precision: int8")
        if self.constraints.full_integer and self.scheme != "int8-static":
            raise ValueError("full_integer is what scheme: int8-static makes; expected that scheme")
        return self

    @property
    def takes_floats(self) -> bool:
        """Whether a file of a model that was not quantized will do, if not as well."""
        return not self.constraints.full_integer

    def figures(self) -> dict[str, Figure]:
        """Every figure by its name; a rate's is ``tops.int8``."""
        named = ("memory_gb", "memory_gb_per_s", "on_chip_mb", "watts")
        found: dict[str, Figure] = {
            name: figure for name in named if (figure := getattr(self, name)) is not None
        }
        return found | {f"tops.{precision}": rate for precision, rate in self.tops.items()}


Platforms: TypeAlias = Mapping[str, Platform]


class PlatformFile(Parameters):
    """A file of platforms."""

    platforms: Annotated[
        dict[Annotated[str, Field(pattern=NAME)], Platform], Field(min_length=1)
    ] = Field(description="what there is to know of each, by its name")


@cache
def platforms() -> Platforms:
    """The platforms that come with runner, by name, in the file's order."""
    text = yaml.load(OWN.read_text(encoding="utf-8"), Loader=_LOADER)
    return TypeAdapter(PlatformFile).validate_python(text).platforms
