"""Checks of the arguments that a spec gives to a model, made before anything is allocated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runner.errors import TaskError


def check_size(model: str, name: str, value: Any, *, minimum: int = 1) -> None:
    """Raises TaskError unless ``value`` is an integer of at least ``minimum``."""
    # bool is an int to Python, and `depth: yes` is a slip.
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise TaskError(
            f"{model}: {name} must be a whole number of at least {minimum}, not {value!r}"
        )


def check_sizes(model: str, name: str, values: Any, *, minimum_count: int = 0) -> None:
    """Raises TaskError unless ``values`` is a list of positive integers."""
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) < minimum_count:
        count = f" with at least {minimum_count} entries" if minimum_count else ""
        raise TaskError(
            f"{model}: {name} must be a list of whole numbers{count}, not {values!r}",
            hint=f"for example {name}: [64, 128]",
        )
    for index, value in enumerate(values):
        check_size(model, f"{name}[{index}]", value)


def check_fraction(model: str, name: str, value: Any) -> None:
    """Raises TaskError unless ``value`` is a number in [0, 1)."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise TaskError(
            f"{model}: {name} must be a number from 0 up to, not including, 1, not {value!r}"
        )


def check_image(model: str, input_shape: tuple[int, ...]) -> None:
    """Raises TaskError unless inputs are images of shape (channels, height, width)."""
    if len(input_shape) != 3:
        raise TaskError(
            f"{model} takes images of shape (channels, height, width), "
            f"but the data's inputs have shape {input_shape}",
            hint="use data with images, or the model mlp",
        )
