"""``${tasks.NAME.outputs.NAME}`` → the path of the artifact that the task left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.errors import TaskError
from runner.spec.references import REFERENCE


def resolve(value: Any, outputs: Mapping[tuple[str, str], str]) -> Any:
    """``value`` with every reference in it replaced; ``outputs`` maps (task, artifact) to a path.

    Raises TaskError where a finished task did not leave what is referred to.
    """
    if isinstance(value, str):
        match = REFERENCE.fullmatch(value)
        if match is None:
            return value
        task, _, output = match.group(1).partition(".outputs.")
        if (task, output) not in outputs:
            raise TaskError(f"the task '{task}' finished without leaving its output '{output}'")
        return outputs[task, output]
    if isinstance(value, Mapping):
        return {key: resolve(item, outputs) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [resolve(item, outputs) for item in value]
    return value
