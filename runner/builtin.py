"""The models and data that come with runner: their names, their arguments, what goes with what.

Here and not beside the code that builds them, so that a spec can be checked where no framework is
installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import ConfigDict, Field, model_validator

from runner.parameters import Parameters, PositiveInt

Form: TypeAlias = Literal["images", "a table", "text"]
ModelName: TypeAlias = Literal["mlp", "convnet", "resnet", "vit", "gpt"]
DataName: TypeAlias = Literal["digits", "mnist5k", "stdlib"]
PlatformName: TypeAlias = Literal[
    "coral", "coral-dev-board", "myriad-x", "intel-npu", "jetson-nano", "jetson-xavier-nx",
    "jetson-orin-nano", "jetson-orin-nx", "jetson-agx-orin", "ascend-310", "ascend-310b",
    "ascend-910", "raspberry-pi-5", "phone", "x86-cpu", "arm-cpu",
]  # fmt: skip
Format: TypeAlias = Literal["csv", "parquet", "npz", "images", "text"]

Dropout = Annotated[
    float, Field(ge=0.0, lt=1.0, description="share of activations dropped while training")
]


class Arguments(Parameters):
    """Base of them all; Pydantic prepares one only when it is asked for, as few ever are."""

    model_config = ConfigDict(defer_build=True)


class MlpArguments(Arguments):
    """Arguments of ``mlp``: linear layers with ReLU between, on flattened inputs."""

    hidden: list[PositiveInt] = Field([256, 128], description="widths of the hidden layers")
    dropout: Dropout = 0.0


class ConvnetArguments(Arguments):
    """Arguments of ``convnet``: 3x3 convolutions with 2x2 pooling between, then linear layers."""

    channels: Annotated[list[PositiveInt], Field(min_length=1)] = Field(
        [32, 64, 128, 128], description="channels of each convolution"
    )
    hidden: Annotated[int, Field(ge=0)] = Field(
        256, description="width of the linear layer before the last; 0 for none"
    )
    pool_every: PositiveInt = Field(2, description="pool after every such many convolutions")
    dropout: Dropout = 0.0


class ResnetArguments(Arguments):
    """Arguments of ``resnet``: the network of He et al. 2015, section 4.2."""

    depth: Annotated[int, Field(ge=8)] = Field(
        20, description="layers, 6n + 2 of them: 8, 14, 20, 32, 44, 56, 110"
    )
    width: PositiveInt = Field(16, description="channels of the first stage")

    @model_validator(mode="after")
    def _whole_blocks(self) -> ResnetArguments:
        if (self.depth - 2) % 6:
            nearest = 6 * max(1, round((self.depth - 2) / 6)) + 2
            raise ValueError(
                f"depth must be 6n + 2 (8, 14, 20, 32, 44, 56, 110, ...), not {self.depth}; "
                f"take {nearest}"
            )
        return self


class BlockArguments(Arguments):
    """What models made of transformer blocks take."""

    dim: PositiveInt = Field(128, description="width of the blocks")
    depth: PositiveInt = Field(description="how many blocks")
    heads: PositiveInt = Field(4, description="attention heads, among which dim is divided")
    dropout: Dropout = 0.0

    @model_validator(mode="after")
    def _even_heads(self) -> BlockArguments:
        if self.dim % self.heads:
            raise ValueError(
                f"dim {self.dim} can't be divided among {self.heads} heads; "
                f"take a dim that is a multiple of {self.heads}"
            )
        return self


class VitArguments(BlockArguments):
    """Arguments of ``vit``: a vision transformer."""

    depth: PositiveInt = Field(4, description="how many blocks")
    patch: PositiveInt = Field(4, description="pixels along the side of a patch")


class GptArguments(BlockArguments):
    """Arguments of ``gpt``: a language model over bytes."""

    depth: PositiveInt = Field(2, description="how many blocks")
    block_size: PositiveInt | None = Field(
        None, description="bytes in a sequence of text; by default as many as the data has, 128"
    )
    tied: bool = Field(True, description="one matrix embeds bytes and predicts them")


class NoArguments(Arguments):
    """Arguments of what takes none."""


class StdlibArguments(Arguments):
    """Arguments of ``stdlib``."""

    bytes: PositiveInt = Field(2_000_000, description="how much of the text to take")


MODEL_ARGUMENTS: Mapping[str, type[Arguments]] = {
    "mlp": MlpArguments,
    "convnet": ConvnetArguments,
    "resnet": ResnetArguments,
    "vit": VitArguments,
    "gpt": GptArguments,
}
DATA_ARGUMENTS: Mapping[str, type[Arguments]] = {
    "digits": NoArguments,
    "mnist5k": NoArguments,
    "stdlib": StdlibArguments,
}

TAKES: Mapping[str, tuple[Form, ...]] = {
    "mlp": ("images", "a table"),
    "convnet": ("images",),
    "resnet": ("images",),
    "vit": ("images",),
    "gpt": ("text",),
}
FORMS_OF_DATA: Mapping[str, tuple[Form, ...]] = {
    "digits": ("images",),
    "mnist5k": ("images",),
    "stdlib": ("text",),
}
FORMS_OF_FORMAT: Mapping[str, tuple[Form, ...]] = {
    "csv": ("a table",),
    "parquet": ("a table",),
    "npz": ("images", "a table"),
    "images": ("images",),
    "text": ("text",),
}

SAMPLES: Mapping[str, int] = {"digits": 1797, "mnist5k": 5000}
"""How many there are, where that is known before anything is read; the tests count them."""

_SUFFIXES: Mapping[str, Format] = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".npz": "npz",
    ".txt": "text",
    ".md": "text",
    ".py": "text",
}


def format_of(name: str) -> Format | None:
    """The format that a file's name tells by its suffix, if it does."""
    return next((form for end, form in _SUFFIXES.items() if name.lower().endswith(end)), None)


def unfit(model: str, forms: tuple[Form, ...]) -> tuple[str, str] | None:
    """Why a model can't take data of any of these forms, and which models can; None if it can."""
    if set(TAKES[model]) & set(forms):
        return None
    others = [name for name, taken in TAKES.items() if set(taken) & set(forms)]
    return (
        f"the model {model} takes {' or '.join(TAKES[model])}, "
        f"and the data is {' or '.join(forms)}",
        f"{' or '.join(others)}, or other data",
    )
