"""kind: prune."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from runner.kinds import Kind, Makers, pruning
from runner.kinds.changeable import check_models
from runner.kinds.gates import GATES, CompressionGatesParams
from runner.kinds.stepping import SteppingParams, TorchSteppingParams
from runner.kinds.training import ArtifactPath, DataParams
from runner.parameters import Fraction, Parameters, PositiveInt

STARTER = """\
# Take half of the channels out of a model. Run this file with:  runner submit FILE
name: prune-digits
resources: {cpus: 1}                       # for every task
tasks:
  model:
    kind: train
    model: {name: convnet, args: {channels: [32, 32, 64, 64], hidden: 128}}
    data: {name: digits}
    max_epochs: 10
    optimizer: {name: adamw, learning_rate: 2.0e-3}
  pruned:
    kind: prune
    model: ${tasks.model.outputs.model}    # or the folder of a model artifact of an earlier run
    data: {name: digits}                   # what to tune and measure on
    method: structured                     # or taylor; magnitude and 2:4 set single weights to zero
    sparsity: 0.5                          # the part that goes
    max_epochs: 5                          # fine-tuning; leave it out for none
    optimizer: {name: adamw, learning_rate: 1.0e-3}
"""

Method = Literal["structured", "taylor", "magnitude", "2:4"]


class _PrunedParams(Parameters):
    """Which model, and what it is measured on."""

    model: ArtifactPath = Field(description="the model artifact to prune")
    data: DataParams = Field(description="what to tune and measure on: what the model was made for")
    method: Method = Field(
        "structured",
        description="structured: channels and heads with the smallest weights are removed; taylor: "
        "those without which the loss on training data changes least; magnitude: the smallest "
        "weights are set to zero; 2:4: two of every four are, for GPUs with sparse tensor cores",
    )
    sparsity: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.5, description="part of the channels, or of the weights, that goes; of 2:4 always 0.5"
    )
    schedule: Literal["one-shot", "gradual"] = Field(
        "one-shot",
        description="one-shot: all at once, then fine-tuning; gradual: more and more over the "
        "first two thirds of the training, along a cubic (Zhu and Gupta 2017)",
    )
    scope: Literal["global", "layer"] = Field(
        "global",
        description="for magnitude: the smallest weights of all layers together, or of each",
    )
    round_to: PositiveInt = Field(
        16,
        description="for structured and taylor: widths become multiples of this, which kernels "
        "are fast on, or of half of it and so on where a layer is too narrow for that",
    )
    ignore: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list,
        description="layers to leave as they are, by name, such as head or blocks.*.attention",
    )


class PruneParams(TorchSteppingParams, SteppingParams, _PrunedParams):
    """Make a trained model smaller by removing channels and heads, or sparse by zeros."""

    teacher: ArtifactPath | None = Field(
        None,
        description="a model artifact to fine-tune towards, as kind distill does; often the model "
        "itself as it was",
        json_schema_extra={"artifact": "model"},
    )
    temperature: Annotated[float, Field(gt=0.0)] = Field(
        3.0, description="with a teacher: softens both models' outputs"
    )
    alpha: Fraction = Field(
        0.7, description="with a teacher: weight of its term; the labels weigh 1 - alpha"
    )
    gates: CompressionGatesParams | None = Field(None, description=GATES)

    @property
    def is_structured(self) -> bool:
        """Whether channels are removed, and not weights set to zero."""
        return self.method in ("structured", "taylor")

    @property
    def is_tuned(self) -> bool:
        """Whether the pruned model is trained."""
        return self.max_epochs is not None or self.max_steps is not None

    @model_validator(mode="after")
    def _at_most_one_length(self) -> PruneParams:
        if self.max_epochs is not None and self.max_steps is not None:
            raise ValueError("expected at most one of 'max_epochs' and 'max_steps'")
        if self.schedule == "gradual" and not self.is_tuned:
            raise ValueError(
                "'schedule: gradual' prunes during a training; expected max_epochs or max_steps"
            )
        return self

    @model_validator(mode="after")
    def _goes_with_the_method(self) -> PruneParams:
        if self.method == "2:4" and self.sparsity != 0.5:
            raise ValueError("2:4 leaves half of the weights; expected no 'sparsity'")
        if self.method == "2:4" and self.schedule == "gradual":
            raise ValueError("2:4 is one pattern at once; expected no 'schedule: gradual'")
        self._only_with("method: magnitude", self.method == "magnitude", "scope")
        self._only_with("method: structured or taylor", self.is_structured, "round_to")
        if self.gates and self.gates.speedup is not None and not self.is_structured:
            raise ValueError(
                f"'gates.speedup' is never met by {self.method}, as zeros save no time; expected "
                "method: structured or taylor, or no such gate"
            )
        return self

    @model_validator(mode="after")
    def _goes_with_the_tuning(self) -> PruneParams:
        tuning = {*TorchSteppingParams.model_fields, *SteppingParams.model_fields} - {
            "max_epochs",
            "max_steps",
            "deterministic",
        }
        self._only_with("max_epochs or max_steps", self.is_tuned, *sorted(tuning), "teacher")
        self._only_with("a teacher", self.teacher is not None, "temperature", "alpha")
        if self.augment and self.data.forms is not None and "images" not in self.data.forms:
            raise ValueError(
                f"'augment' changes images, and the data is {' or '.join(self.data.forms)}; "
                "expected no 'augment'"
            )
        if self.precision == "fp8":
            raise ValueError("precision fp8 changes layers that are pruned; expected another")
        return self

    def _only_with(self, what: str, is_there: bool, *names: str) -> None:
        """Raises ValueError for a parameter that says something and has nothing to say it of."""
        fields: dict[str, Any] = type(self).model_fields
        for name in names:
            default = fields[name].get_default(call_default_factory=True)
            if not is_there and getattr(self, name) != default:
                raise ValueError(f"'{name}' goes with {what}; expected it left out")


def check_makers(params: Any, makers: Makers) -> None:
    """Raises ValueError where a task makes no model of PyTorch that can be changed."""
    check_models("prune", makers, "model", "teacher")


KIND = Kind(
    name="prune",
    summary=str(PruneParams.__doc__),
    params=PruneParams,
    outputs=("model",),
    starter=STARTER,
    devices=("cpu", "gpu"),
    run=pruning.run,
    check_makers=check_makers,
)
