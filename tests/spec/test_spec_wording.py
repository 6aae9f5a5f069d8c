"""Every field of every kind, given a wrong value of every type: our words, at the very place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel
from refusing import faults

from runner.kinds import KINDS, find
from runner.kinds.describe import parameters
from runner.spec.shape import CommonSpec

# What Pydantic would say, and must not be heard to.
LEAKS = ("Input should", "Value error", "Extra inputs", "Field required", "valid ", "validation",
         "String should", "List should", "Tuple should", "Dictionary", "JSON", "NoneType", "union",
         "\n", "function-after", "literal")  # fmt: skip

VALUES: list[Any] = [
    None, True, -1, 0, 3, 10**30, 1.5, -1e300, 1e300, "", "x", "3", "a b", "é日本", [], {}, [1],
    ["x"],    [None], [[]], [{}], [1, 2, 3], {"a": 1}, {"1": None}, {"a b": "x"}, {"": []},
    {"name": "x"}, {"float": 1}, {"str": []},
]  # fmt: skip

RIGHT: dict[str, dict[str, Any]] = {
    "train": {"model": {"name": "mlp"}, "data": {"name": "digits"}, "max_epochs": 1,
              "global_batch_size": 96},
    "distill": {"model": {"name": "mlp"}, "data": {"name": "digits"}, "max_epochs": 1,
                "global_batch_size": 96, "teacher": "folder"},
    "evaluate": {"model": "folder", "data": {"name": "digits"}},
    "prune": {"model": "folder", "data": {"name": "digits"}, "max_epochs": 1,
              "global_batch_size": 96},
    "quantize": {"model": "folder", "data": {"name": "digits"}},
    "fuse": {"model": "folder", "data": {"name": "digits"}},
    "export": {"model": "folder", "data": {"name": "digits"}, "formats": ["onnx", "openvino"]},
    "bench": {},
    "keras": {"model": {"name": "mlp"}, "data": {"name": "digits"}, "max_epochs": 1},
}  # fmt: skip

# What a map needs beside one of its fields.
BESIDE: dict[tuple[str, ...], dict[str, Any]] = {
    ("checkpoint", "keep"): {"every_steps": 5},
    ("resources", "num_workers", "min"): {"max": 3},
    ("resources", "num_workers", "max"): {"min": 1},
}


def fields(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    for row in parameters(model):
        yield tuple(row.name.split("."))


def spec(kind: str, field: tuple[str, ...], value: Any) -> tuple[str, int]:
    """A spec in block style with ``value`` in JSON at ``field``, and that line's number."""
    task: dict[str, Any] = {"kind": kind, **json.loads(json.dumps(RIGHT[kind]))}
    inside = task
    for name in field[:-1]:
        if not isinstance(inside.get(name), dict):  # a path may stand where a map can
            inside[name] = {}
        inside = inside[name]
    inside[field[-1]] = value
    inside.update(BESIDE.get(field, {}))
    lines = ["name: job", "tasks:", "  a:"]
    found = 0

    def write(data: dict[str, Any], depth: int, path: tuple[str, ...]) -> None:
        nonlocal found
        for name, item in data.items():
            here = (*path, name)
            if isinstance(item, dict) and here != field and item:
                lines.append("  " * depth + f"{name}:")
                write(item, depth + 1, here)
            else:
                lines.append("  " * depth + f"{name}: {json.dumps(item)}")
            if here == field:
                found = len(lines)

    write(task, 2, ())
    return "\n".join(lines) + "\n", found


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_says_what_is_wrong_with_it_in_our_words(kind: str) -> None:
    model = find(kind).params
    refused = 0
    for field in [*fields(model), *fields(CommonSpec)]:
        for value in VALUES:
            text, line = spec(kind, field, value)
            found = faults(text)
            refused += bool(found)
            assert len({(fault.line, fault.column, fault.message) for fault in found}) == len(found)
            for fault in found:
                where = f"{'.'.join(field)} = {value!r}: {fault}"
                assert not any(leak in fault.message for leak in LEAKS), where
                assert fault.message.count("; ") + fault.message.count(": ") > 0, where
                # A wrong value is said on its line; a rule of its map at the first key it names.
                is_rule = "expected exactly one of" in fault.message
                is_rule = is_rule or "expected at most one of" in fault.message
                is_rule = is_rule or f"'{field[0]}' is for Keras" in fault.message
                is_rule = is_rule or f"'{field[0]}' goes with scheme: " in fault.message
                assert fault.line == line or is_rule, where
                source = text.split("\n")[fault.line - 1]
                assert fault.source == source, where
                assert fault.column in range(1, len(source) + 2), where
    assert refused > 200


@pytest.mark.parametrize("kind", KINDS)
def test_what_these_specs_are_made_of_is_right(kind: str) -> None:
    assert faults(spec(kind, ("seed",), 1)[0]) == ()


def test_a_kind_that_is_new_is_swept_too() -> None:
    assert set(RIGHT) == set(KINDS)
