"""What every model of parameters is built on: the base that refuses slips, and bounded numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Parameters(BaseModel):
    """Base of every parameter model: unknown keys and wrong types are faults, values are frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


# Counts of samples and steps; what is larger is a slip, and too large for PyTorch besides.
MAX_COUNT = 10**12

PositiveInt = Annotated[int, Field(ge=1, le=MAX_COUNT)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def only_with(params: Parameters, what: str, is_there: bool, *names: str) -> None:
    """Raises ValueError for a parameter that says something and has nothing to say it of.

    ``what`` is what these parameters go with, and whether that ``is_there``.
    """
    for name in names:
        default = type(params).model_fields[name].get_default(call_default_factory=True)
        if not is_there and getattr(params, name) != default:
            raise ValueError(f"'{name}' goes with {what}; expected it left out")
