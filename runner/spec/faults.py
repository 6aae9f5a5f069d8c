"""What Pydantic found, said in the words of the spec and at its place in the file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from runner.builtin import DATA_ARGUMENTS, MODEL_ARGUMENTS
from runner.errors import Fault
from runner.spec.document import ORIGIN, Document, Path, Place, shown
from runner.spec.scalars import typed_scalar
from runner.spec.shape import NAME_WORDS
from runner.spec.suggest import did_you_mean
from runner.spec.unknown import instead_of

# What each of Pydantic's errors says was expected; the names in braces are of its context.
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "dict_type": "a map",
    "model_type": "a map",
    "list_type": "a list",
    "tuple_type": "a list",
    "finite_number": "a finite number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "too_short": "at least {min_length} items",
    "too_long": "at most {max_length} items",
}
# Errors that say no more than that another type was expected.
_TYPES = {name for name in _EXPECTED if name.endswith("_type")}


def translate(
    error: ValidationError, document: Document, prefix: Path, model: type[BaseModel]
) -> list[Fault]:
    """A fault for each thing that ``error`` holds; ``prefix`` is where ``model`` stands."""
    found: dict[tuple[Path, bool], list[Any]] = {}  # by place, and whether a union stands there
    for item in error.errors(include_url=False):
        path, in_union = _written_path(item, prefix, model)
        found.setdefault((path, in_union), []).append(item)
    faults: list[Fault] = []
    for (path, in_union), items in found.items():
        if in_union:
            deeper = any(other[: len(path)] == path and other != path for other, _ in found)
            chosen = [item for item in items if item["type"] not in _TYPES]
            if len(chosen) < len(items) or len({item["type"] for item in chosen}) > 1:
                # That it is none of some words says nothing, where it could have been a number.
                chosen = [item for item in chosen if item["type"] != "literal_error"]
            # A branch that the value got further into says more than one that it never entered.
            items = chosen or ([] if deeper else [_merged(items)])
        faults += [_fault(item, document, path, model, prefix) for item in items]
    return faults


def _written_path(item: Any, prefix: Path, model: type[BaseModel]) -> tuple[Path, bool]:
    """Where the item's value is written, without what Pydantic adds for the branches of a union."""
    path: Path = prefix
    annotation: Any = model
    in_union = False
    for part in item["loc"]:
        if _is_union(annotation):
            in_union, annotation = True, None
        elif part != "[key]":
            path = (*path, part)
            annotation = _annotation_below(annotation, part)
    return path, in_union or _is_union(annotation)


def _bare(annotation: Any) -> Any:
    """An annotation without Annotated, and without None as an alternative."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
            continue
        if get_origin(annotation) in (Union, UnionType):
            parts = [part for part in get_args(annotation) if part is not NoneType]
            if len(parts) == 1:
                annotation = parts[0]
                continue
        return annotation


def _is_union(annotation: Any) -> bool:
    return get_origin(_bare(annotation)) in (Union, UnionType)


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The model of a map that may stand here, if there is just one."""
    bare = _bare(annotation)
    if _is_union(bare):
        models = [found for part in get_args(bare) if (found := _model_of(part)) is not None]
        return models[0] if len(models) == 1 else None
    return bare if isinstance(bare, type) and issubclass(bare, BaseModel) else None


def _annotation_below(annotation: Any, part: str | int) -> Any:
    """The annotation of what stands at ``part`` in a model, a map or a list; None if unknown."""
    model = _model_of(annotation)
    if model is not None:
        field = model.model_fields.get(str(part))
        return field.annotation if field else None
    bare = _bare(annotation)
    arguments = get_args(bare)
    if get_origin(bare) is dict:
        return arguments[1]
    if get_origin(bare) is list:
        return arguments[0]
    if get_origin(bare) is tuple and isinstance(part, int) and part < len(arguments):
        return arguments[part]
    return None


def _merged(items: list[Any]) -> Any:
    """One error for a value that is of none of a union's types."""
    words = [
        item["ctx"]["expected"].replace("'", "")
        if item["type"] == "literal_error"
        else _EXPECTED[item["type"]]
        for item in items
    ]
    first = next((item for item in items if item["type"] != "literal_error"), items[0])
    return {**first, "expected": " or ".join(dict.fromkeys(words))}


def _fault(
    item: Any, document: Document, path: Path, model: type[BaseModel], prefix: Path
) -> Fault:
    kind, context, value = item["type"], item.get("ctx", {}), item["input"]
    name = shown(path[-1]) if path else "the file"
    if path and isinstance(path[-1], int):
        name = f"item {path[-1] + 1} of {shown(path[-2])}"
    place = document.place(path)
    is_key = item["loc"][-1:] == ("[key]",)
    if kind == "missing":
        parent = document.keys.get(path[:-1], document.place(path[:-1]))
        if isinstance(path[-1], int):
            return parent.fault(f"{shown(path[-2])} has no item {path[-1] + 1}; expected one")
        inside = f"'{shown(path[-2])}' has no '{name}'" if len(path) > 1 else f"no '{name}'"
        what = _description(model, path[len(prefix) :])
        return parent.fault(f"{inside}; expected it" + (f": {what}" if what else ""))
    if kind == "extra_forbidden":
        holder = _model_at(model, path[len(prefix) : -1]) or _arguments_at(document, path[:-1])
        return document.place(path, key=True).fault(
            f"unknown key '{name}'{instead_of(str(path[-1]), holder)}"
        )
    if kind == "string_pattern_mismatch":
        if is_key:
            place = document.place(path, key=True)
            return place.fault(f"the name '{name}'; {_pattern_words(context['pattern'])}")
        return place.fault(f"{name} is {_quoted(value)}; {_pattern_words(context['pattern'])}")
    if kind == "value_error":
        return _place_of_rule(document, path, value, str(context["error"])).fault(
            f"{name}: {context['error']}"
        )
    if kind == "literal_error":
        allowed = [
            word.strip("' ") for word in context["expected"].replace(" or ", ", ").split(",")
        ]
        return place.fault(
            f"{name} is {_quoted(value)}; expected one of {', '.join(allowed)}"
            + _only_suggestion(str(value), allowed)
        )
    if kind.endswith("too_short") and context["min_length"] == 1:
        expected = "text" if kind == "string_too_short" else "at least one"
        return place.fault(f"{name} is empty; expected {expected}")
    if kind in _EXPECTED:
        limits = {key: f"{limit:g}" if isinstance(limit, float) else limit
                  for key, limit in context.items()}  # fmt: skip
        expected = item.get("expected") or _EXPECTED[kind].format(**limits)
        return place.fault(
            f"{name} is {_quoted(value)}; expected {expected}"
            + (_by_name(_model_at(model, path[len(prefix) :]), value) or _quotes(expected, value))
        )
    return place.fault(f"{name} is {_quoted(value)}; {item['msg']}")


def _place_of_rule(document: Document, path: Path, value: Any, message: str) -> Place:
    """Where a broken rule is best seen: in a map, at a key that the rule names."""
    keys = [(*path, name) for name in value] if isinstance(value, dict) else []
    return place_named(document, keys, message) or document.place(path, key=isinstance(value, dict))


def place_named(document: Document, keys: Iterable[Path], message: str) -> Place | None:
    """The place of one of ``keys`` that ``message`` names; None where it names none of them.

    That is the last one that was overridden, as it broke what held in the file; else the first.
    """
    named = [
        document.place(path, key=True)
        for path in keys
        if re.search(rf"(?<![A-Za-z_]){re.escape(str(path[-1]))}(?![A-Za-z_])", message)
    ]
    overridden = [place for place in named if place.file == ORIGIN]
    return next(iter(overridden[-1:] or named), None)


def _by_name(model: type[BaseModel] | None, value: Any) -> str:
    """How to write a word that stands where a map with a name belongs."""
    if model is None or "name" not in model.model_fields or not isinstance(value, str) or not value:
        return ""
    return f", such as {{name: {shown(value)}}}"


def _quotes(expected: str, value: Any) -> str:
    """What to do about a number in quotes, or a text without."""
    if expected == "text" and not isinstance(value, dict | list | None):
        return f' in quotes, such as "{shown(json.dumps(value))}"'
    if expected in ("a number", "a whole number") and isinstance(value, str):
        return "" if isinstance(typed_scalar(value), str | None) else ", without quotes"
    return ""


def _only_suggestion(name: str, allowed: list[str]) -> str:
    found = did_you_mean(name, allowed)
    return found if found.startswith("; did") else ""


def _quoted(value: Any) -> str:
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, dict):
        return "a map" if value else "an empty map"
    if value in (None, ""):
        return "empty"
    return shown(json.dumps(value, ensure_ascii=False))


def _pattern_words(pattern: str) -> str:
    if ":" in pattern:
        return "expected package.module:function"
    if pattern.startswith("^[A-Za-z_]"):
        return "expected letters (A-Z, a-z), digits and _, not beginning with a digit"
    return f"expected {NAME_WORDS}"


def _model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """The model that describes the map at ``path`` below ``model``, if one does."""
    annotation: Any = model
    for part in path:
        annotation = _annotation_below(annotation, part)
    return _model_of(annotation)


def _arguments_at(document: Document, path: Path) -> type[BaseModel] | None:
    """The model of the ``args`` at ``path``, which depends on the name that stands beside them."""
    if path[-1:] != ("args",):
        return None
    holder: Any = document.data
    for part in path[:-1]:
        holder = holder[part]
    return {**MODEL_ARGUMENTS, **DATA_ARGUMENTS}.get(holder.get("name"))


def _description(model: type[BaseModel], path: Path) -> str:
    found = _model_at(model, path[:-1])
    field = found.model_fields.get(str(path[-1])) if found else None
    return (field.description or "") if field else ""
