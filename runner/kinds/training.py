"""The parameters that every kind shares which loads data, builds a model or trains one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Parameters(BaseModel):
    """Base of every parameter model: unknown keys and wrong types are faults, values are frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


# Counts of samples and steps; what is larger is a slip, and too large for PyTorch besides.
MAX_COUNT = 10**12

PositiveInt = Annotated[int, Field(ge=1, le=MAX_COUNT)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
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
        description="a model artifact: ${tasks.NAME.outputs.model}, or the path of its folder",
    ),
]


class ModelParams(Parameters):
    """Which model to build: a built-in by name, or a function of yours by factory."""

    name: Literal["mlp", "convnet", "resnet", "vit", "gpt"] | None = Field(
        None, description="a built-in architecture"
    )
    factory: Factory | None = Field(
        None,
        description="your own function, as package.module:function; gets args, and input_shape and "
        "num_classes where it takes them; returns a torch.nn.Module",
    )
    args: dict[str, Any] = Field(
        default_factory=dict, description="arguments of the architecture or of the factory"
    )

    @model_validator(mode="after")
    def _one_source(self) -> ModelParams:
        if (self.name is None) == (self.factory is None):
            raise ValueError("expected exactly one of 'name' and 'factory'")
        return self


class DataParams(Parameters):
    """Which data to load: a built-in set by name, files by path, or a function by factory."""

    name: Literal["digits", "mnist5k", "stdlib"] | None = Field(
        None,
        description="a built-in set: 1,797 8x8 digits, 5,000 MNIST images, or the text of the "
        "interpreter's own standard library",
    )
    path: str | None = Field(None, min_length=1, description="a file or folder, beside the spec")
    format: Literal["csv", "parquet", "npz", "images", "text"] | None = Field(
        None, description="what the path holds; by default told from its name"
    )
    factory: Factory | None = Field(
        None,
        description="your own function, as package.module:function; gets args and returns the "
        "arrays x_train, y_train, x_test, y_test",
    )
    args: dict[str, Any] = Field(
        default_factory=dict, description="arguments of the set or of the factory"
    )
    label: str | None = Field(None, description="the label column of a table; the last by default")
    test_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.2, description="share held out for testing, where the data brings no split"
    )

    @model_validator(mode="after")
    def _one_source(self) -> DataParams:
        if sum(source is not None for source in (self.name, self.path, self.factory)) != 1:
            raise ValueError("expected exactly one of 'name', 'path' and 'factory'")
        for option in ("format", "label"):
            if getattr(self, option) is not None and self.path is None:
                raise ValueError(f"'{option}' goes with 'path' only")
        return self


class OptimizerParams(Parameters):
    """The optimizer, with PyTorch's names for its settings."""

    name: Literal["adamw", "adam", "sgd"] = Field("adamw", description="which optimizer")
    learning_rate: Annotated[float, Field(gt=0.0)] = Field(1e-3, description="peak learning rate")
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(
        0.01, description="decay of weight matrices; biases and norms are left alone"
    )
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(0.9, description="for sgd")
    betas: tuple[
        Annotated[float, Field(ge=0.0, lt=1.0)], Annotated[float, Field(ge=0.0, lt=1.0)]
    ] = Field((0.9, 0.999), description="for adam and adamw")


class SchedulerParams(Parameters):
    """How the learning rate changes over the run, after a linear warm-up."""

    name: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="shape after the warm-up; linear and cosine end at zero"
    )
    warmup_steps: Annotated[int, Field(ge=0, le=MAX_COUNT)] = Field(
        0, description="steps from zero to the peak"
    )


class MeasuredParams(Parameters):
    """Data and nothing else: what a kind needs that only measures."""

    data: DataParams = Field(description="what to train or measure on")


class TrainingParams(MeasuredParams):
    """What every kind takes that trains a model."""

    model: ModelParams = Field(description="what to train")
    optimizer: OptimizerParams = Field(default_factory=OptimizerParams)
    lr_scheduler: SchedulerParams = Field(default_factory=SchedulerParams)
    max_epochs: PositiveInt | None = Field(None, description="passes over the training data")
    max_steps: PositiveInt | None = Field(None, description="optimizer steps, instead of epochs")
    global_batch_size: PositiveInt | None = Field(
        None, description="samples that one optimizer step sees; 64 unless the others give it"
    )
    per_device_batch_size: PositiveInt | None = Field(
        None, description="samples that one forward pass sees"
    )
    gradient_accumulation_steps: PositiveInt | None = Field(
        None, description="forward passes for one optimizer step; 1 unless the others give it"
    )
    max_grad_norm: Annotated[float, Field(gt=0.0)] | None = Field(
        None, description="clip the gradient's norm to this"
    )
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.0, description="weight of the uniform distribution in the target"
    )

    @model_validator(mode="after")
    def _one_length(self) -> TrainingParams:
        if (self.max_epochs is None) == (self.max_steps is None):
            raise ValueError("expected exactly one of 'max_epochs' and 'max_steps'")
        return self

    @model_validator(mode="after")
    def _warms_up_in_time(self) -> TrainingParams:
        if self.max_steps is not None and self.lr_scheduler.warmup_steps > self.max_steps:
            raise ValueError(
                f"expected max_steps of at least warmup_steps, which is "
                f"{self.lr_scheduler.warmup_steps}"
            )
        return self

    @model_validator(mode="after")
    def _batches_agree(self) -> TrainingParams:
        batch_sizes(self)
        return self


DEFAULT_BATCH_SIZE = 64

# Known before anything is read; the tests hold them against the data.
BUILT_IN_TRAIN_SAMPLES = {"digits": 1437, "mnist5k": 4000}


def batch_sizes(params: TrainingParams) -> tuple[int, int, int]:
    """Global batch, per-device batch and accumulation, any two of which give the third.

    Raises ValueError where they contradict each other, with the nearest values that agree.
    """
    whole = params.global_batch_size
    micro = params.per_device_batch_size
    windows = params.gradient_accumulation_steps
    if whole is None:
        micro = micro if micro is not None else DEFAULT_BATCH_SIZE // (windows or 1) or 1
        return micro * (windows or 1), micro, windows or 1
    if micro is not None and windows is not None:
        if micro * windows != whole:
            raise ValueError(
                f"global_batch_size {whole} is not per_device_batch_size {micro} x "
                f"gradient_accumulation_steps {windows} = {micro * windows}; leave one of the "
                "three out and it is derived"
            )
        return whole, micro, windows
    given, field = (windows, "gradient_accumulation_steps") if windows else (micro, "")
    if given is None:
        return whole, whole, 1
    if whole % given:
        name = field or "per_device_batch_size"
        below, above = whole - whole % given, whole + given - whole % given
        nearest = f"{below} or {above}" if below else f"{above}"
        raise ValueError(
            f"global_batch_size {whole} is not divisible by {name} {given}; "
            f"the nearest that is: {nearest}"
        )
    return (whole, whole // given, given) if windows else (whole, given, whole // given)
