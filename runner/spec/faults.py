"""What Pydantic found, said in the words of the spec and at its place in the file."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ValidationError

from runner.errors import Fault
from runner.spec.document import Document, Path
from runner.spec.suggest import did_you_mean

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
    "list_type": "a list",
    "tuple_type": "a list",
    "finite_number": "a finite number",
}
_RENAMED = {"NoneType": "nothing", "str": "text", "int": "a number", "float": "a number",
            "bool": "true or false", "list": "a list", "dict": "a map"}  # fmt: skip


def translate(
    error: ValidationError, document: Document, prefix: Path, model: type[BaseModel]
) -> list[Fault]:
    """A fault for each thing that ``error`` holds; ``prefix`` is where ``model`` stands."""
    faults: list[Fault] = []
    seen: set[Path] = set()
    for item in error.errors(include_url=False):
        path, is_key = _written_path(document, prefix, item["loc"])
        if item["type"].startswith(("union", "literal")) and path in seen:
            continue
        if path in seen and item["type"] != "extra_forbidden":
            continue  # the branches of a union say the same thing in turns
        seen.add(path)
        faults.append(_fault(item, document, path, is_key, model, prefix))
    return faults


def _written_path(document: Document, prefix: Path, loc: tuple[Any, ...]) -> tuple[Path, bool]:
    """``loc`` without the parts that Pydantic adds for union branches and keys of maps."""
    path: Path = prefix
    is_key = False
    data = _at(document.data, prefix)
    for part in loc:
        if part == "[key]":
            is_key = True
            continue
        if isinstance(data, dict) and part in data:
            data = data[part]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        elif part is not loc[-1] or not isinstance(data, dict):
            continue
        path = (*path, part)
    return path, is_key


def _at(data: Any, path: Path) -> Any:
    for part in path:
        data = data[part]
    return data


def _fault(
    item: Any, document: Document, path: Path, is_key: bool, model: type[BaseModel], prefix: Path
) -> Fault:
    kind, context = item["type"], item.get("ctx", {})
    name = str(path[-1]) if path else "the file"
    place = document.place(path)
    if kind == "missing":
        parent = document.keys.get(path[:-1], document.place(path[:-1]))
        inside = f"'{path[-2]}' has no '{name}'" if len(path) > 1 else f"no '{name}'"
        what = _description(model, path[len(prefix) :])
        return parent.fault(f"{inside}; expected it" + (f": {what}" if what else ""))
    if kind == "extra_forbidden":
        known = _fields(model, path[len(prefix) : -1])
        return document.place(path, key=True).fault(
            f"unknown key '{name}'" + (did_you_mean(name, known) or "; see 'runner kinds'")
        )
    shown = json.dumps(item["input"], ensure_ascii=False, default=str)
    shown = shown if len(shown) <= 50 else shown[:47] + "..."
    if kind == "value_error":
        return place.fault(f"{name}: {context['error']}")
    if kind == "literal_error":
        allowed = [word.strip("' ") for word in context["expected"].replace(" or ", ", ").split(",")]
        return place.fault(
            f"{name} is {shown}; expected one of {', '.join(allowed)}"
            + _only_suggestion(str(item["input"]), allowed)
        )
    if kind in _EXPECTED:
        return place.fault(
            f"{name} is {_kind_of(item['input'], shown)}; expected {_EXPECTED[kind]}"
        )
    if kind == "string_pattern_mismatch":
        if is_key:
            place = document.place(path, key=True)
        return place.fault(f"{name} is {shown}; {_pattern_words(context['pattern'])}")
    message = item["msg"].replace("Input should be ", "expected ")
    message = message.replace("Dictionary should have at least 1 item after validation, not 0",
                              "expected at least one")  # fmt: skip
    return place.fault(f"{name} is {shown}; {message[0].lower()}{message[1:]}")


def _only_suggestion(name: str, allowed: list[str]) -> str:
    found = did_you_mean(name, allowed)
    return found if found.startswith("; did") else ""


def _kind_of(value: Any, shown: str) -> str:
    if isinstance(value, dict | list):
        return _RENAMED[type(value).__name__]
    return "empty" if value is None else shown


def _pattern_words(pattern: str) -> str:
    if ":" in pattern:
        return "expected package.module:function"
    if pattern.startswith("^[A-Za-z_]"):
        return "expected letters, digits and _, not beginning with a digit"
    return "expected letters, digits, - and _, at most 63, beginning with a letter or digit"


def _model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """The model that describes the map at ``path`` below ``model``, if one does."""
    for part in path:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return None
        model = annotation
    return model


def _fields(model: type[BaseModel], path: Path) -> list[str]:
    found = _model_at(model, path)
    return list(found.model_fields) if found else []


def _description(model: type[BaseModel], path: Path) -> str:
    found = _model_at(model, path[:-1])
    field = found.model_fields.get(str(path[-1])) if found else None
    return (field.description or "") if field else ""
