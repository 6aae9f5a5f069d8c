"""Functions that a spec names as ``package.module:function``: found, and called."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from runner.errors import TaskError


def resolve(reference: str) -> Callable[..., Any]:
    """The function that ``reference`` names, as ``package.module:function``.

    Raises TaskError where it is not of that form, there is no such module, the module has no such
    attribute, or the attribute can't be called. What the module itself raises on import is passed
    on as it is: that is the user's code at fault, and its traceback is what they need.
    """
    module_name, colon, attribute = reference.partition(":")
    if not colon or not all(
        part.isidentifier() for part in f"{module_name}.{attribute}".split(".")
    ):
        raise TaskError(
            f"'{reference}' does not name a function",
            hint="write it as package.module:function",
        )
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        # A module that exists but imports something that does not is another fault, with a
        # traceback of its own.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise TaskError(
            f"there is no module '{error.name}', which '{reference}' names",
            hint="put it beside the spec (or into its workdir), or install its package",
        ) from error
    found: Any = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise TaskError(
                f"'{module_name}' has no '{attribute}'",
                hint=_nearest(name, [key for key in dir(found) if not key.startswith("_")]),
            )
        found = getattr(found, name)
    if not callable(found):
        raise TaskError(
            f"'{reference}' is a {type(found).__name__}, which can't be called",
            hint="name a function or a class",
        )
    result: Callable[..., Any] = found
    return result


def call(what: str, function: Callable[..., Any], args: Mapping[str, Any]) -> Any:
    """``function(**args)``, where ``args`` come from a spec and ``what`` names it in messages.

    Raises TaskError, before anything is called, if an argument is unknown or one is missing.
    """
    signature = inspect.signature(function)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    accepted = {
        name: parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    settable = [name for name in accepted if name not in _FROM_DATA]
    names = ", ".join(settable) or "none"
    if not takes_any:
        for name in args:
            if name not in accepted:
                raise TaskError(
                    f"{what} has no argument '{name}'; it accepts: {names}",
                    hint=_nearest(name, settable),
                )
    missing = [n for n, p in accepted.items() if p.default is p.empty and n not in args]
    if missing:
        raise TaskError(
            f"{what} needs the argument '{missing[0]}'; it accepts: {names}",
            hint=f"add {missing[0]} to its args",
        )
    return function(**args)


# What a model's factory is given by the data, and a spec therefore need not and can't set.
_FROM_DATA = ("input_shape", "num_classes")


def _nearest(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"there is: {', '.join(names[:12])}" if names else ""
