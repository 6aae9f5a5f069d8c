"""One scalar of a spec: its type by YAML 1.2's core schema, and what ``${...}`` stands for."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from runner.errors import Fault
from runner.spec.document import Place, shown

_INT = re.compile(r"[-+]?[0-9]{1,400}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.inf|\.nan", re.IGNORECASE)
_WORDS = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_REFERENCE = re.compile(r"\$\{([^}]*)\}?")
_ENV_NAME = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")


def typed_scalar(text: str) -> Any:
    """A plain scalar by the core schema: null, true, false, integers, floats, else text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def read_scalar(
    text: str, *, plain: bool, place: Place, environment: Mapping[str, str] | None
) -> tuple[Any, list[Fault]]:
    """The value of a scalar and what is wrong with it; ``plain`` means written without quotes.

    Without an environment ``${`` has no meaning.
    A plain scalar that is ``${env:NAME}`` and nothing else is typed as the variable's text is.
    """
    faults: list[Fault] = []
    if environment is not None and "${" in text:
        known = environment
        whole = _REFERENCE.fullmatch(text) is not None
        replaced = _REFERENCE.sub(lambda match: _replacement(match, place, known, faults), text)
        plain = plain and whole and replaced != text
        text = replaced
    value = typed_scalar(text) if plain else text
    # JSON, in which a job is saved and sent, has neither infinity nor NaN.
    if isinstance(value, float) and not math.isfinite(value):
        faults.append(place.fault(f"{shown(text)} is out of range; expected a finite number"))
    return value, faults


def _replacement(
    match: re.Match[str], place: Place, environment: Mapping[str, str], faults: list[Fault]
) -> str:
    inside = match.group(1)
    if not match.group(0).endswith("}"):
        faults.append(
            place.fault("'${' without '}'; expected ${env:NAME} or ${tasks.NAME.outputs.NAME}")
        )
    elif name := _ENV_NAME.fullmatch(inside):
        variable = name.group(1)
        if variable not in environment:
            faults.append(
                place.fault(
                    f"the environment has no variable {shown(variable)}; expected it to be set: "
                    f"{shown(variable)}=... runner ..."
                )
            )
        elif not _is_text(environment[variable]):
            faults.append(place.fault(f"the variable {variable} is not UTF-8; expected text"))
        else:
            return environment[variable]
    elif not inside.startswith("tasks."):
        faults.append(
            place.fault(
                f"nothing is called '{shown(inside)}'; expected ${{env:NAME}} or "
                "${tasks.NAME.outputs.NAME}"
            )
        )
    return match.group(0)


def _is_text(text: str) -> bool:
    """Whether a variable's bytes were UTF-8: Python puts surrogates for those that were not."""
    return not any("\ud800" <= char <= "\udfff" for char in text)
