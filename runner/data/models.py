"""Which model a spec means, and what its maker is called with: the same for every framework."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from runner.builtin import MODEL_ARGUMENTS, Form, unfit
from runner.data.arguments import check
from runner.data.dataset import Work
from runner.data.factories import call, resolve
from runner.errors import TaskError


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSpec:
    """Which model: a built-in name or a factory ``pkg.mod:fn``, and its arguments."""

    name: str | None = None
    factory: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"model {self.name or self.factory}"


def maker(
    spec: ModelSpec,
    modules: Mapping[str, str],
    *,
    input_shape: tuple[int, ...],
    num_classes: int,
) -> Callable[[], Any]:
    """What makes the model when it is called.

    ``modules`` maps the names of a framework's built-in models to modules with a ``make``. A
    factory is called with its arguments and, where its parameters have these names,
    ``input_shape`` and ``num_classes``. Raises TaskError if there is no such model; what comes back
    does so if the arguments are not the model's.
    """
    if (spec.name is None) == (spec.factory is None):
        raise TaskError("a model needs a name or a factory, and not both")
    offered = {"input_shape": tuple(input_shape), "num_classes": num_classes}
    given, from_data = spec.args, offered
    if spec.name is None:
        make = resolve(str(spec.factory))
        taken = inspect.signature(make).parameters
        from_data = {key: value for key, value in offered.items() if key in taken}
    elif spec.name in modules:
        make = import_module(modules[spec.name]).make
    else:
        near = difflib.get_close_matches(spec.name, modules, n=1)
        raise TaskError(
            f"there is no model '{spec.name}'; there are: {', '.join(modules)}",
            hint=f"did you mean '{near[0]}'?" if near else "or name a factory, pkg.mod:fn",
        )
    for key in from_data:
        if key in spec.args:
            raise TaskError(f"{spec}: {key} is given by the data", hint=f"take {key} out of args")
    if spec.name is not None:
        given = check(str(spec), MODEL_ARGUMENTS[spec.name], spec.args)
    return lambda: call(str(spec), make, {**given, **from_data})


def check_form(spec: ModelSpec, *, task: Work, input_shape: tuple[int, ...]) -> None:
    """Raises TaskError if a built-in model can't take samples of this form."""
    if spec.name is None:
        return
    is_image = len(input_shape) == 3
    form: Form = "text" if task == "language" else "images" if is_image else "a table"
    wrong = unfit(spec.name, (form,))
    if wrong is not None:
        raise TaskError(wrong[0], hint=f"take {wrong[1]}")
