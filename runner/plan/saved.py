"""Plan ↔ JSON: ``plan.json`` is the very object that is carried out."""

from __future__ import annotations

from functools import cache

from pydantic import TypeAdapter, ValidationError

from runner.errors import RecordsError
from runner.model import Plan


@cache
def _adapter() -> TypeAdapter[Plan]:
    return TypeAdapter(Plan)


def to_json(plan: Plan) -> str:
    """The plan as indented JSON, ending in a newline."""
    return _adapter().dump_json(plan, indent=2).decode() + "\n"


def from_json(text: str | bytes, *, file: str) -> Plan:
    """The plan that ``to_json`` wrote. Raises RecordsError naming ``file`` where it is not one."""
    try:
        return _adapter().validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordsError(
            f"{file} is not a plan: {where or 'the file'}: {first['msg']}",
            hint="it was written by another version, or by something else than runner",
        ) from None
