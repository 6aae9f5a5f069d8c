"""The arguments that a spec gives to a built-in model, checked before anything is allocated."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from runner.errors import TaskError


def check(what: str, arguments: type[BaseModel], args: Mapping[str, Any]) -> dict[str, Any]:
    """``args`` with the defaults of those left out. Raises TaskError; ``what`` names the model.

    A spec's were checked when it was read; these may come from a script, or from a model.json that
    was changed by hand.
    """
    try:
        return arguments.model_validate(dict(args)).model_dump()
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
    name = "".join(f"[{part}]" if isinstance(part, int) else str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = list(arguments.model_fields)
        near = difflib.get_close_matches(name, known, n=1)
        raise TaskError(
            f"{what} has no argument '{name}'; it accepts: {', '.join(known)}",
            hint=f"did you mean '{near[0]}'?" if near else "",
        )
    if fault["type"] == "value_error":
        raise TaskError(f"{what}: {fault['ctx']['error']}")
    words = fault["msg"].replace("Input should", "it should")
    raise TaskError(f"{what}: {name} is {fault['input']!r}; {words}")


def check_image(model: str, input_shape: tuple[int, ...]) -> None:
    """Raises TaskError unless inputs are images of shape (channels, height, width)."""
    if len(input_shape) != 3:
        raise TaskError(
            f"{model} takes images of shape (channels, height, width), "
            f"but the data's inputs have shape {input_shape}",
            hint="use data with images, or the model mlp",
        )
