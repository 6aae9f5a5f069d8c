"""The parameters of what a training can do besides plain steps: averaging, stopping, augmenting."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from runner.parameters import MAX_COUNT, Parameters, PositiveInt


class EmaParams(Parameters):
    """Evaluate and keep an exponential moving average of the weights instead of the last ones."""

    decay: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.999,
        description="how much of the average a step leaves; at most (1 + n) / (10 + n) after n "
        "steps, so that it soon forgets the beginning",
    )


class EarlyStoppingParams(Parameters):
    """End a training that no longer gets better; the weights of its best evaluation are kept."""

    patience: PositiveInt = Field(
        5, description="evaluations in a row without a gain; one an epoch, at most 50 a training"
    )
    metric: Literal["test/loss", "test/accuracy"] = Field(
        "test/loss", description="what has to fall (loss) or rise (accuracy)"
    )
    min_delta: Annotated[float, Field(ge=0.0)] = Field(
        0.0, description="a gain is a change for the better by more than this"
    )


class AugmentParams(Parameters):
    """Change the images that are trained on, each in its own way and anew in every epoch."""

    flip: bool = Field(False, description="mirror half of them left to right")
    crop: Annotated[int, Field(ge=0, le=MAX_COUNT)] = Field(
        0, description="move each by up to so many pixels, with zeros where nothing was"
    )
    cutout: Annotated[int, Field(ge=0, le=MAX_COUNT)] = Field(
        0, description="set a square of so many pixels a side to zero, the mean of the data"
    )

    @model_validator(mode="after")
    def _something(self) -> AugmentParams:
        if not (self.flip or self.crop or self.cutout):
            raise ValueError("expected at least one of 'flip', 'crop' and 'cutout'")
        return self
