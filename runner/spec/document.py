"""A spec as plain data that remembers where in the file every key and value stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from runner.errors import Fault

Path: TypeAlias = tuple[str | int, ...]

# What stands for the file's name in the places of values that ``--set`` gave.
ORIGIN = "--set"


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where something stands. Lines and columns count from 1, columns in characters."""

    file: str
    line: int
    column: int
    source: str

    def fault(self, message: str) -> Fault:
        """A fault at this place. What the message quotes from the file can't move the cursor."""
        return Fault(
            file=self.file,
            line=self.line,
            column=self.column,
            message=_printable(message),
            source=self.source,
        )


@dataclass(kw_only=True, slots=True)
class Document:
    """A parsed spec: plain ``data``, and for each path the place of its key and of its value."""

    data: Any
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)

    def place(self, path: Path, *, key: bool = False) -> Place:
        """The place of ``path``, or of the nearest thing around it that is written down."""
        for table in (self.keys, self.values) if key else (self.values,):
            if path in table:
                return table[path]
        for end in range(len(path) - 1, -1, -1):
            if path[:end] in self.values:
                return self.keys.get(path[:end], self.values[path[:end]])
        return self.values[()]


def shown(text: object) -> str:
    """A word from the file as a message quotes it: cut where it is long."""
    words = str(text)
    return words if len(words) <= 60 else words[:57] + "..."


def _printable(text: str) -> str:
    """``text`` with what a terminal would obey (escapes, line breaks) spelled out instead."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
