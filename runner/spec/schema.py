"""The JSON Schema of a spec, for editors that complete and check as one types."""

from __future__ import annotations

from typing import Any

from runner.kinds import KINDS
from runner.spec.shape import JobSpec, task_model


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
        definitions[model.__name__] = _with_references(part)
        branches.append(
            {
                "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                "then": {"$ref": f"#/$defs/{model.__name__}"},
            }
        )
    document["properties"]["tasks"] |= {
        "additionalProperties": {
            "type": "object",
            "required": ["kind"],
            "properties": {"kind": {"enum": list(KINDS), "description": "what sort of task this is"}},
            "allOf": branches,
        }
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "runner job",
        **document,
    }


def _with_references(part: dict[str, Any]) -> dict[str, Any]:
    """``part``, its numbers and words also allowing ``${env:NAME}``, which is typed when read."""
    for name, prop in part["properties"].items():
        if name != "kind" and prop.get("type") in ("integer", "number", "boolean"):
            text = {"type": "string", "pattern": r"^\$\{env:[A-Za-z_][A-Za-z0-9_]*\}$"}
            kept = {key: prop.pop(key) for key in ("title", "description", "default") if key in prop}
            part["properties"][name] = {**kept, "anyOf": [dict(prop), text]}
    return part
