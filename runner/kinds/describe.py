"""The parameters of a model as rows that a person reads."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, WithJsonSchema
from pydantic.fields import FieldInfo

_WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", Any: "anything"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One parameter; those of a map inside have dotted names."""

    name: str
    type: str
    required: bool
    default: Any
    description: str

    @property
    def default_text(self) -> str:
        """The default in words."""
        if self.required:
            return "required"
        return "optional" if self.default in (None, [], {}) else f"default {self.default}"

    def as_json(self) -> dict[str, Any]:
        """The row as plain data."""
        return asdict(self)


def parameters(model: type[BaseModel], prefix: str = "") -> list[Parameter]:
    """Every parameter of ``model``, those of maps inside it after the map's own row."""
    rows = []
    for name, field in model.model_fields.items():
        inner = _model(field.annotation)
        rows.append(_row(prefix + name, field, inner))
        if inner is not None:
            rows += parameters(inner, f"{prefix}{name}.")
    return rows


def _row(name: str, field: FieldInfo, inner: type[BaseModel] | None) -> Parameter:
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        default = None
    elif isinstance(default, tuple):
        default = list(default)
    description = field.description or (inner.__doc__ if inner else "") or ""
    return Parameter(
        name=name,
        type=_type_words(field.annotation),
        required=field.is_required(),
        default=default,
        description=description.strip().split("\n")[0],
    )


def _model(annotation: Any) -> type[BaseModel] | None:
    """The one model that a value may be, if it is a map."""
    if get_origin(annotation) in (Union, UnionType):
        parts = [_model(part) for part in get_args(annotation)]
        return next((part for part in parts if part is not None), None)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def _type_words(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Annotated:
        # What a spec has in place of the value itself, such as a file.
        drawn = [part for part in get_args(annotation) if isinstance(part, WithJsonSchema)]
        titles = [str(each.json_schema["title"]) for each in drawn if each.json_schema]
        return titles[0] if titles else _type_words(get_args(annotation)[0])
    if origin in (Union, UnionType):
        words = [_type_words(part) for part in get_args(annotation) if part is not NoneType]
        return " or ".join(dict.fromkeys(words))
    if origin is Literal:
        return " | ".join(str(word) for word in get_args(annotation))
    if origin in (list, tuple):
        return "list"
    if origin is dict or _model(annotation) is not None:
        return "map"
    return _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))
