"""YAML text as plain data, with the place of every key and value, or every fault found on the way.

The text is read event by event with the safe loader's parser: no tag constructs anything, nesting
and the expansion of aliases are bounded, and duplicate keys are faults. Plain scalars are typed by
the core schema of YAML 1.2, so that ``no`` is a string and ``1e-3`` a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

from runner.errors import Fault, SpecError

MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_VALUES = 50_000

Path: TypeAlias = tuple[str | int, ...]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    ".inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan"),
}  # fmt: skip
_TAGS = {"tag:yaml.org,2002:str": str}
_REFERENCE = re.compile(r"\$\{([^}]*)\}?")
_ENV_NAME = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where something stands. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    source: str

    def fault(self, message: str) -> Fault:
        """A fault at this place."""
        return Fault(
            file=self.file, line=self.line, column=self.column, message=message, source=self.source
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


@dataclass(slots=True)
class _Value:
    """A value as parsed, before aliases are expanded: a scalar, a list or a map of these."""

    content: Any
    place: Place
    keys: dict[str, Place] = field(default_factory=dict)


class _Parser:
    """Builds the tree of one document from parser events, collecting faults that allow to go on."""

    def __init__(self, text: str, file: str, environment: Mapping[str, str]) -> None:
        self.file = file
        self.lines = text.splitlines() or [""]
        self.environment = environment
        self.faults: list[Fault] = []
        self.anchors: dict[str, _Value | None] = {}
        self.depth = 0
        self.text = text

    def place(self, line: int, column: int) -> Place:
        source = self.lines[line] if line < len(self.lines) else ""
        return Place(file=self.file, line=line + 1, column=column + 1, source=source)

    def at(self, event: Any) -> Place:
        return self.place(event.start_mark.line, event.start_mark.column)

    def stop(self, place: Place, message: str) -> SpecError:
        return SpecError([*self.faults, place.fault(message)])

    def parse(self) -> _Value:
        loader = _LOADER(self.text)
        try:
            self.events = iter(loader.get_event, None)
            next(self.events)  # the stream starts
            start = next(self.events)
            if isinstance(start, yaml.StreamEndEvent):
                raise self.stop(
                    self.place(0, 0), "the file is empty; expected a map with 'name' and 'tasks'"
                )
            root = self.value(next(self.events))
            next(self.events)  # the document ends
            extra = next(self.events)
            if not isinstance(extra, yaml.StreamEndEvent):
                raise self.stop(self.at(extra), "a second document; expected one in a file")
            return root
        except yaml.MarkedYAMLError as error:
            raise self._syntax(error) from None
        except yaml.reader.ReaderError as error:
            line = self.text.count("\n", 0, error.position)
            column = error.position - (self.text.rfind("\n", 0, error.position) + 1)
            raise self.stop(
                self.place(line, column), "a control character; expected printable text"
            ) from None
        finally:
            loader.dispose()

    def _syntax(self, error: yaml.MarkedYAMLError) -> SpecError:
        mark = error.problem_mark or error.context_mark
        place = self.place(mark.line, mark.column) if mark else self.place(0, 0)
        problem = error.problem or "not valid YAML"
        source = place.source
        if "\t" in source[: place.column] and "cannot start any token" in problem:
            message = "a tab; expected spaces (YAML does not indent with tabs)"
        elif "undefined alias" in problem:
            message = f"{problem}; expected an anchor (&name) before it"
        elif "${" in source and re.search(r"[\[{].*\$\{", source):
            message = (
                'a reference inside { } or [ ] must be quoted: "${...}" '
                f"(YAML's word for it: {problem})"
            )
        else:
            context = f", {error.context}" if error.context else ""
            message = f"not valid YAML: {problem}{context}"
        return self.stop(place, message)

    def value(self, event: Any) -> _Value:
        place = self.at(event)
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event.anchor, place)
        if event.tag not in (None, "!", *_TAGS):
            raise self.stop(place, f"the tag {_shown(event.tag)}; expected plain data, without tags")
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.stop(place, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.ScalarEvent):
            result = _Value(self.scalar(event, place), place)
        elif isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(item := next(self.events), yaml.SequenceEndEvent):
                items.append(self.value(item))
            result = _Value(items, place)
        else:
            result = self.mapping(place)
        self.depth -= 1
        if event.anchor is not None:
            self.anchors[event.anchor] = result
        return result

    def alias(self, anchor: str, place: Place) -> _Value:
        if anchor not in self.anchors:
            raise self.stop(place, f"the alias *{anchor} has no anchor; expected &{anchor} before it")
        target = self.anchors[anchor]
        if target is None:
            raise self.stop(place, f"the alias *{anchor} stands inside its own anchor")
        return target

    def mapping(self, place: Place) -> _Value:
        items: dict[str, _Value] = {}
        keys: dict[str, Place] = {}
        merged: list[_Value] = []
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            at = self.at(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise self.stop(at, "a key that is not a plain word; expected text")
            value = self.value(next(self.events))
            name = event.value
            if name == "<<" and event.implicit[0]:
                merged += value.content if isinstance(value.content, list) else [value]
            elif name in items:
                self.faults.append(
                    at.fault(f"the key '{_shown(name)}' stands twice; it is first on line "
                             f"{keys[name].line}")
                )  # fmt: skip
            else:
                items[name], keys[name] = value, at
        for source in merged:
            if not isinstance(source.content, dict):
                raise self.stop(source.place, "merged by '<<', but not a map")
            for name, value in source.content.items():
                if name not in items:
                    items[name], keys[name] = value, source.keys[name]
        return _Value(items, place, keys)

    def scalar(self, event: Any, place: Place) -> Any:
        text: str = event.value
        typed = event.implicit[0]  # written plain, without quotes or a tag
        if "${" not in text:
            return typed_scalar(text) if typed else text
        whole = _REFERENCE.fullmatch(text)

        def replace(match: re.Match[str]) -> str:
            inside = match.group(1)
            if not match.group(0).endswith("}"):
                self.faults.append(place.fault("'${' without '}'; expected ${env:NAME} or "
                                               "${tasks.NAME.outputs.NAME}"))  # fmt: skip
            elif name := _ENV_NAME.fullmatch(inside):
                if name.group(1) in self.environment:
                    return self.environment[name.group(1)]
                self.faults.append(
                    place.fault(f"the environment has no variable {name.group(1)}; expected it to "
                                f"be set: {name.group(1)}=... runner ...")
                )  # fmt: skip
            elif not inside.startswith("tasks."):
                self.faults.append(
                    place.fault(f"nothing is called '{_shown(inside)}'; expected ${{env:NAME}} or "
                                "${tasks.NAME.outputs.NAME}")
                )  # fmt: skip
            return match.group(0)

        result = _REFERENCE.sub(replace, text)
        return typed_scalar(result) if typed and whole and result != text else result


def typed_scalar(text: str) -> Any:
    """A plain scalar by YAML 1.2's core schema: null, true, false, integers, floats, else text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text) and len(text) < 400:
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _shown(text: str) -> str:
    """Text from the file, cut and made printable for a message."""
    text = text if len(text) <= 60 else text[:57] + "..."
    return text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text


def _expand(root: _Value, faults: list[Fault]) -> Document:
    """Plain data from the tree: aliases copied out, up to a bound, each copy with its own path."""
    document = Document(data=None)
    count = 0

    def expand(value: _Value, path: Path) -> Any:
        nonlocal count
        count += 1
        if count > MAX_VALUES:
            raise SpecError(
                [*faults, value.place.fault(f"aliases expand to more than {MAX_VALUES} values")]
            )
        document.values[path] = value.place
        if isinstance(value.content, dict):
            for name, place in value.keys.items():
                document.keys[(*path, name)] = place
            return {name: expand(item, (*path, name)) for name, item in value.content.items()}
        if isinstance(value.content, list):
            return [expand(item, (*path, index)) for index, item in enumerate(value.content)]
        return value.content

    try:
        document.data = expand(root, ())
    except RecursionError:
        raise SpecError([*faults, root.place.fault("aliases nest without bound")]) from None
    return document


def decode(source: bytes, file: str) -> str:
    """The file's bytes as text. Raises SpecError for what can't be YAML text, with its place."""

    def fault(offset: int, message: str) -> SpecError:
        before = source[:offset]
        line = before.count(b"\n")
        start = before.rfind(b"\n") + 1
        shown = source[start:].split(b"\n", 1)[0].decode("utf-8", "replace")
        column = len(before[start:].decode("utf-8", "replace"))
        place = Place(file=file, line=line + 1, column=column + 1, source=shown[:200])
        return SpecError([place.fault(message)])

    if len(source) > MAX_BYTES:
        raise fault(0, f"the file has {len(source):,} bytes; expected at most {MAX_BYTES:,}")
    if b"\0" in source:
        raise fault(source.index(b"\0"), "a NUL byte; expected text")
    try:
        return source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise fault(error.start, "not UTF-8; expected text in UTF-8") from None


def parse(source: bytes, *, file: str, environment: Mapping[str, str]) -> tuple[Document, list[Fault]]:
    """The document in ``source`` and the faults that did not keep it from being read.

    ``${env:NAME}`` is replaced from ``environment``. Raises SpecError where reading can't go on.
    """
    parser = _Parser(decode(source, file), file, environment)
    root = parser.parse()
    return _expand(root, parser.faults), parser.faults
