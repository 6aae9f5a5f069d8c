"""The JSON Schema of a spec, for editors that complete and check as one types."""

from __future__ import annotations

from typing import Any

from runner.kinds import KINDS
from runner.spec.shape import EXTENSION, NAME, JobSpec, task_model

_TYPED = ("integer", "number", "boolean")
_REFERENCE = {"type": "string", "pattern": r"^\$\{env:[A-Za-z_][A-Za-z0-9_]*\}$"}


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a spec: each kind's parameters apply to tasks of that kind."""
    document = JobSpec.model_json_schema()
    definitions = document.setdefault("$defs", {})
    branches = []
    for kind in KINDS:
        model = task_model(kind)
        part = model.model_json_schema()
        definitions.update(part.pop("$defs", {}))
        part["properties"]["kind"] = {"const": kind, "description": model.__doc__}
        definitions[model.__name__] = part
        branches.append(
            {
                "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                "then": {"$ref": f"#/$defs/{model.__name__}"},
            }
        )
    document["properties"]["tasks"] |= {
        "propertyNames": {"pattern": NAME},
        "additionalProperties": {
            "type": "object",
            "required": ["kind"],
            "properties": {
                "kind": {"enum": list(KINDS), "description": "what sort of task this is"}
            },
            "allOf": branches,
        },
    }
    document["patternProperties"] = {
        f"^{EXTENSION}": {"description": "anchors for other places to copy; means nothing itself"}
    }
    adapted: dict[str, Any] = _adapted(document)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "runner job",
        **adapted,
    }


def _adapted(part: Any) -> Any:
    """``part``, its numbers also taking ``${env:NAME}``, which is typed when read; maps closed."""
    if isinstance(part, list):
        return [_adapted(item) for item in part]
    if not isinstance(part, dict):
        return part
    if "patternProperties" in part:  # names of another form are faults, not extras
        part = {"additionalProperties": False, **part}
    adapted = {key: _adapted(value) for key, value in part.items() if key != "properties"}
    if "properties" in part:
        adapted["properties"] = {
            name: _or_reference(_adapted(value)) for name, value in part["properties"].items()
        }
    return adapted


def _or_reference(value: dict[str, Any]) -> dict[str, Any]:
    if value.get("type") in _TYPED:
        said: dict[str, Any] = {
            key: value[key] for key in ("title", "description", "default") if key in value
        }
        bare = {key: item for key, item in value.items() if key not in said}
        return {**said, "anyOf": [bare, _REFERENCE]}
    if any(choice.get("type") in _TYPED for choice in value.get("anyOf", ())):
        return {**value, "anyOf": [*value["anyOf"], _REFERENCE]}
    return value
