"""The parameters that every kind shares which loads data, builds a model or trains one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from runner.builtin import (
    DATA_ARGUMENTS,
    FORMS_OF_DATA,
    FORMS_OF_FORMAT,
    MODEL_ARGUMENTS,
    SAMPLES,
    DataName,
    Form,
    Format,
    ModelName,
    format_of,
    unfit,
)
from runner.kinds.gates import GATES, GatesParams
from runner.kinds.parallelism import ParallelismParams
from runner.kinds.stepping import SteppingParams, TorchSteppingParams
from runner.kinds.techniques import EarlyStoppingParams, EmaParams
from runner.parameters import Parameters, PositiveInt

Factory = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
    ),
]
ArtifactPath = Annotated[
    str,
    Field(
        min_length=1,
        json_schema_extra={"artifact": "model"},
        description="a model artifact: ${tasks.NAME.outputs.model}, or the path or URI of its "
        "folder",
    ),
]


def _arguments_by_name(tables: Mapping[Any, type[Parameters]]) -> ConfigDict:
    """For editors: which ``args`` go with which ``name``."""

    def add(schema: dict[str, Any]) -> None:
        schema["allOf"] = [
            {
                "if": {"properties": {"name": {"const": name}}, "required": ["name"]},
                "then": {"properties": {"args": arguments.model_json_schema()}},
            }
            for name, arguments in tables.items()
        ]

    return ConfigDict(json_schema_extra=add)


def _arguments_in_words(tables: Mapping[Any, type[Parameters]]) -> str:
    named = {name: ", ".join(arguments.model_fields) for name, arguments in tables.items()}
    return "; ".join(f"{name}: {fields or 'none'}" for name, fields in named.items())


class ModelParams(Parameters):
    """Which model to build: a built-in by name, or a function of yours by factory."""

    model_config = _arguments_by_name(MODEL_ARGUMENTS)

    name: ModelName | None = Field(None, description="a built-in architecture")
    factory: Factory | None = Field(
        None,
        description="your own function, as package.module:function; gets args, and input_shape and "
        "num_classes where it takes them; returns a torch.nn.Module",
    )
    args: dict[str, Any] = Field(
        default_factory=dict,
        description="arguments of the factory, or of the architecture: "
        + _arguments_in_words(MODEL_ARGUMENTS),
    )

    @field_validator("args")
    @classmethod
    def _args_of_the_architecture(cls, args: dict[str, Any], info: ValidationInfo) -> Any:
        if name := info.data.get("name"):
            # What this raises, Pydantic reports as faults of this model, each at its own place.
            MODEL_ARGUMENTS[name].model_validate(args)
        return args

    @model_validator(mode="after")
    def _one_source(self) -> ModelParams:
        if (self.name is None) == (self.factory is None):
            raise ValueError("expected exactly one of 'name' and 'factory'")
        return self


class SourceParams(Parameters):
    """Where data comes from: a built-in set by name, files by path, or a function by factory."""

    model_config = _arguments_by_name(DATA_ARGUMENTS)

    name: DataName | None = Field(
        None,
        description="a built-in set: 1,797 8x8 digits, 5,000 MNIST images, or the text of the "
        "interpreter's own standard library",
    )
    path: str | None = Field(None, min_length=1, description="a file or folder, beside the spec")
    format: Format | None = Field(
        None, description="what the path holds; by default told from its name"
    )
    factory: Factory | None = Field(
        None,
        description="your own function, as package.module:function; gets args and returns the "
        "arrays x_train, y_train, x_test, y_test",
    )
    args: dict[str, Any] = Field(
        default_factory=dict,
        description="arguments of the factory, or of the set: "
        + _arguments_in_words(DATA_ARGUMENTS),
    )
    label: str | None = Field(None, description="the label column of a table; the last by default")

    @field_validator("args")
    @classmethod
    def _args_of_the_set(cls, args: dict[str, Any], info: ValidationInfo) -> Any:
        if name := info.data.get("name"):
            DATA_ARGUMENTS[name].model_validate(args)
        return args

    @model_validator(mode="after")
    def _one_source(self) -> SourceParams:
        if sum(source is not None for source in (self.name, self.path, self.factory)) != 1:
            raise ValueError("expected exactly one of 'name', 'path' and 'factory'")
        for option in ("format", "label"):
            if getattr(self, option) is not None and self.path is None:
                raise ValueError(f"'{option}' goes with 'path' only")
        if self.path is not None and self.args:
            raise ValueError("'args' goes with 'name' or 'factory' only")
        if self.label is not None and self._format() not in ("csv", "parquet", None):
            raise ValueError(f"'label' is a column of a table, and the data is {self._format()}")
        return self

    def _format(self) -> Format | None:
        return self.format or (format_of(self.path) if self.path is not None else None)

    @property
    def forms(self) -> tuple[Form, ...] | None:
        """What the samples may be, as far as the parameters tell; None where only loading tells."""
        if self.name is not None:
            return FORMS_OF_DATA[self.name]
        format = self._format()
        return None if format is None else FORMS_OF_FORMAT[format]


class DataParams(SourceParams):
    """Which data to load: a built-in set by name, files by path, or a function by factory."""

    test_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.2, description="share held out for testing, where the data brings no split"
    )
    train_samples: PositiveInt | None = Field(
        None,
        description="train on so many of the samples that are not held out, of each class its "
        "share; the same ones in every task",
    )
    stream: bool = Field(
        False,
        description="read Parquet files or folders of images again in every epoch, each worker its "
        "part, for what does not fit in memory; what is held out is kept there",
    )

    @model_validator(mode="after")
    def _streams_files(self) -> DataParams:
        if not self.stream:
            return self
        if self.path is None:
            raise ValueError("'stream' goes with 'path' only")
        format = self._format()
        if format not in ("parquet", "images", None):
            raise ValueError(
                f"'stream' reads Parquet files and folders of images, and the data is {format}; "
                "expected no 'stream', or the data in one of these"
            )
        return self

    @model_validator(mode="after")
    def _has_so_many(self) -> DataParams:
        if self.train_samples is None:
            return self
        if self.stream:
            raise ValueError("'train_samples' does not go with 'stream'; expected one of them")
        known = self.all_known_samples
        if known is not None and self.train_samples > known:
            raise ValueError(
                f"train_samples is {self.train_samples:,}, and {self.name} has {known:,} that are "
                "not held out; expected at most that"
            )
        return self

    @property
    def all_known_samples(self) -> int | None:
        """How many samples are not held out, where that is known before anything is read."""
        samples = SAMPLES.get(self.name or "")
        return None if samples is None else samples - math.ceil(samples * self.test_fraction)

    @property
    def known_samples(self) -> int | None:
        """How many samples there are to train on, where that is known before anything is read."""
        return self.train_samples or self.all_known_samples


class MeasuredDataParams(SourceParams):
    """Which data to measure on: a built-in set, files by path, or a function by factory."""

    test_fraction: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        None,
        description="share of the rows to measure on, 1.0 for all; by default those held out at "
        "training if this is the data that the model was trained on, and otherwise all",
    )


class CheckpointParams(Parameters):
    """When to write down all that a training needs to go on as if it had never stopped."""

    every_steps: PositiveInt = Field(description="optimizer steps from one to the next")
    keep: PositiveInt = Field(
        2, description="how many to keep, the newest; all go once the task is finished"
    )


class _Sources(Parameters):
    data: DataParams = Field(description="what to train and measure on")
    model: ModelParams = Field(description="what to train")


class FittingParams(SteppingParams, _Sources):
    """What every kind takes that trains a model, in whatever framework."""

    gates: GatesParams | None = Field(None, description=GATES)

    @model_validator(mode="after")
    def _model_takes_the_data(self) -> FittingParams:
        if self.model.name is not None and self.data.forms is not None:
            wrong = unfit(self.model.name, self.data.forms)
            if wrong is not None:
                raise ValueError(f"{wrong[0]}; expected {wrong[1]}")
        return self

    @model_validator(mode="after")
    def _one_length(self) -> FittingParams:
        if (self.max_epochs is None) == (self.max_steps is None):
            raise ValueError("expected exactly one of 'max_epochs' and 'max_steps'")
        return self


class TrainingParams(TorchSteppingParams, FittingParams):
    """What every kind takes that trains a model with PyTorch."""

    per_device_batch_size: PositiveInt | Literal["auto"] | None = Field(
        None,
        description="samples that one forward pass sees; auto: the most that the GPU's memory "
        "takes, found by trying, with accumulation for the rest of the global batch",
    )
    gradient_accumulation_steps: PositiveInt | None = Field(
        None, description="forward passes for one optimizer step; 1 unless the others give it"
    )
    ema: EmaParams | None = Field(
        None, description="evaluate and keep a moving average of the weights, not the last ones"
    )
    early_stopping: EarlyStoppingParams | None = Field(
        None,
        description="end when it no longer gets better; the weights of the best evaluation are "
        "what is kept",
    )
    activation_checkpointing: bool = Field(
        False,
        description="keep only what goes into each block, and compute the rest again for the "
        "gradient: less memory, a third more time",
    )
    compile: bool = Field(
        False,
        description="torch.compile each block, or the whole of a model without blocks; a small one "
        "on one GPU into CUDA graphs",
    )
    parallelism: ParallelismParams = Field(default_factory=ParallelismParams)
    checkpoint: CheckpointParams | None = Field(
        None, description="what a lost or resumed attempt goes on from; without, it starts anew"
    )

    @model_validator(mode="after")
    def _augments_images(self) -> TrainingParams:
        if self.augment and self.data.forms is not None and "images" not in self.data.forms:
            raise ValueError(
                f"'augment' changes images, and the data is {' or '.join(self.data.forms)}; "
                "expected no 'augment'"
            )
        return self

    @model_validator(mode="after")
    def _auto_is_free(self) -> TrainingParams:
        if self.per_device_batch_size == "auto":
            if self.gradient_accumulation_steps is not None:
                raise ValueError(
                    "per_device_batch_size auto finds gradient_accumulation_steps, too; "
                    "expected it left out"
                )
            if self.parallelism.pp > 1:
                raise ValueError(
                    "per_device_batch_size auto does not go with pp, whose micro-batches have one "
                    "size; expected a number"
                )
        return self


DEFAULT_BATCH_SIZE = 64


def batch_sizes(
    params: TrainingParams, dp: int = 1, *, found: int | None = None
) -> tuple[int, int, int]:
    """Global batch, per-device batch and accumulation, any two of which give the third.

    The global batch is their product times ``dp``, the workers that take different samples. For
    ``auto``, the per-device batch is what was ``found``, else all that a worker takes. Raises
    ValueError where they contradict each other, with the nearest values that agree.
    """
    whole = params.global_batch_size
    micro = found if params.per_device_batch_size == "auto" else params.per_device_batch_size
    windows = params.gradient_accumulation_steps
    if whole is None:
        micro = micro if micro is not None else DEFAULT_BATCH_SIZE // ((windows or 1) * dp) or 1
        return micro * (windows or 1) * dp, micro, windows or 1
    factors = [
        (f"per_device_batch_size {micro}", micro),
        (f"gradient_accumulation_steps {windows}", windows),
        (f"{dp} workers", dp if dp > 1 else None),
    ]
    words = " x ".join(name for name, value in factors if value)
    unit = (micro or 1) * (windows or 1) * dp
    if micro is not None and windows is not None:
        if unit != whole:
            raise ValueError(
                f"global_batch_size {whole} is not {words} = {unit}; leave one of the three "
                "out and it is derived"
            )
    elif whole % unit:
        below, above = whole - whole % unit, whole + unit - whole % unit
        nearest = f"{below} or {above}" if below else f"{above}"
        product = "" if unit in (micro, windows, dp) and " x " not in words else f" = {unit}"
        raise ValueError(
            f"global_batch_size {whole} is not divisible by {words}{product}; "
            f"the nearest that is: {nearest}"
        )
    micro = micro or whole // unit
    return whole, micro, whole // (micro * dp)
