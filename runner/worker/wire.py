"""Orders and records as JSON, the only form in which they travel."""

from __future__ import annotations

import json
from dataclasses import asdict
from types import NoneType
from typing import Any

from runner.model import Order, Record


def order_to_json(order: Order) -> str:
    """One line of JSON."""
    return json.dumps(asdict(order))


def order_from_json(text: str | bytes) -> Order:
    """The order that ``order_to_json`` wrote. Raises ValueError or TypeError for anything else."""
    from pydantic import TypeAdapter

    Order(**json.loads(text))  # refuses names that it does not know, where pydantic would not
    return TypeAdapter(Order).validate_json(text, strict=True)


def record_to_json(record: Record) -> str:
    """One line of JSON, without what is empty. Not-a-number becomes null."""
    line: dict[str, Any] = {"at_s": round(record.at_s, 3), "event": record.event}
    if record.task is not None:
        line["task"] = record.task
    if record.attempt is not None:
        line["attempt"] = record.attempt
    if record.data:
        line["data"] = record.data
    try:
        return json.dumps(line, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(line), allow_nan=False)


def record_from_json(text: str | bytes) -> Record:
    """The record that ``record_to_json`` wrote.

    Raises ValueError or TypeError for anything else.
    """
    record = Record(**json.loads(text))
    for value, types in (
        (record.at_s, (int, float)),
        (record.event, (str,)),
        (record.task, (str, NoneType)),
        (record.attempt, (int, NoneType)),
        (record.data, (dict,)),
    ):
        if not isinstance(value, types) or isinstance(value, bool):
            raise TypeError(f"{value!r} where {' or '.join(t.__name__ for t in types)} belongs")
    return record


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
