"""YAML text → Document, or every fault that was found on the way.

The text is read event by event with the safe loader's parser: no tag constructs anything, nesting
and the expansion of aliases are bounded, and duplicate keys are faults. Plain scalars are typed by
the core schema of YAML 1.2, so that ``no`` is a string and ``1e-3`` a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from runner.errors import Fault, SpecError
from runner.spec.document import Document, Path, Place, shown
from runner.spec.scalars import read_scalar

MAX_BYTES = 1_000_000
MAX_DEPTH = 40
MAX_VALUES = 50_000

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT_TAGS = (None, "!", "tag:yaml.org,2002:str")
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
# What YAML 1.1 and 1.2 allow, turned around.
_NOT_PRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# The parser's words for what people most often write, in words that say what to do.
_REWORDED = {
    "mapping values are not allowed": "a ':' that can't stand here; expected another indentation, "
    "or quotes around text that holds ': '",
    "did not find expected key": "not a key of the map that it stands in; expected another "
    "indentation, or a ':' after the key",
    "did not find expected '-' indicator": "not an item of the list that it stands in; expected "
    "'- ', or another indentation",
    "did not find expected ',' or '}'": "a map in { } that isn't closed; expected ',' or '}'",
    "did not find expected ',' or ']'": "a list in [ ] that isn't closed; expected ',' or ']'",
    "did not find expected <document start>": "not part of what stands above it; expected the same "
    "indentation as the first key",
    "did not find expected node content": "not a value; expected one, or quotes around it",
    "could not find expected ':'": "a key without ':'; expected ': ' and a value after it",
    "found unexpected end of stream": "a quote that isn't closed; expected the same quote again",
}


def parse(
    source: bytes, *, file: str, environment: Mapping[str, str] | None
) -> tuple[Document, list[Fault]]:
    """The document in ``source`` and the faults that did not keep it from being read.

    The data is None where nothing is written. ``${env:NAME}`` is replaced from ``environment``;
    without one, ``${`` has no meaning and stays. Raises SpecError where reading can't go on.
    """
    parser = _Parser(_decoded(source, file), file, environment)
    root = parser.parse()
    return _expand(root, parser.faults), parser.faults


def _decoded(source: bytes, file: str) -> str:
    """The file's bytes as text. Raises SpecError for what can't be YAML text, with its place."""
    if len(source) > MAX_BYTES:
        place = Place(file=file, line=1, column=1, source="")
        raise SpecError(
            [place.fault(f"the file is too large; expected at most {MAX_BYTES:,} bytes")]
        )
    try:
        text, wrong, message = source.decode("utf-8-sig"), None, ""
    except UnicodeDecodeError as error:
        text = source.decode("utf-8-sig", "replace")
        # The offset counts in what follows a byte order mark.
        skipped = len(source) - len(error.object)
        wrong = len(source[: error.start + skipped].decode("utf-8-sig"))
        message = "not UTF-8; expected text in UTF-8"
    else:
        if found := _NOT_PRINTABLE.search(text):
            code = ord(found.group())
            what = "a NUL byte" if code == 0 else f"a control character (U+{code:04X})"
            wrong, message = found.start(), f"{what}; expected printable text"
    if wrong is not None:
        before = _LINE_BREAK.split(text[:wrong])
        line = _LINE_BREAK.split(text)[len(before) - 1]
        place = Place(file=file, line=len(before), column=len(before[-1]) + 1, source=line)
        raise SpecError([place.fault(message)])
    return text


@dataclass(slots=True)
class _Value:
    """A value as parsed, before aliases are expanded: a scalar, a list or a map of these."""

    content: Any
    place: Place
    keys: dict[str, Place] = field(default_factory=dict)


class _Parser:
    """Builds the tree of one document from parser events, collecting faults that allow to go on."""

    def __init__(self, text: str, file: str, environment: Mapping[str, str] | None) -> None:
        self.text = text
        self.file = file
        self.lines = _LINE_BREAK.split(text)
        self.environment = environment
        self.faults: list[Fault] = []
        self.anchors: dict[str, _Value | None] = {}
        self.depth = 0
        self.events: Iterator[Any] = iter(())

    def place(self, mark: Any) -> Place:
        if mark.line >= len(self.lines):  # the end of the text, after its last line break
            last = self.lines[-1]
            return Place(file=self.file, line=len(self.lines), column=len(last) + 1, source=last)
        source = self.lines[mark.line]
        return Place(file=self.file, line=mark.line + 1, column=mark.column + 1, source=source)

    def stop(self, place: Place, message: str) -> SpecError:
        return SpecError([*self.faults, place.fault(message)])

    def parse(self) -> _Value:
        loader = _LOADER(self.text)
        self.events = iter(loader.get_event, None)
        try:
            next(self.events)  # the stream starts
            start = next(self.events)
            if isinstance(start, yaml.StreamEndEvent):
                return _Value(None, Place(file=self.file, line=1, column=1, source=self.lines[0]))
            root = self.value(next(self.events))
            next(self.events)  # the document ends
            extra = next(self.events)
            if not isinstance(extra, yaml.StreamEndEvent):
                raise self.stop(
                    self.place(extra.start_mark), "a second document; expected one in a file"
                )
            return root
        except yaml.MarkedYAMLError as error:
            raise self.syntax(error) from None
        finally:
            loader.dispose()

    def syntax(self, error: yaml.MarkedYAMLError) -> SpecError:
        mark = error.problem_mark or error.context_mark
        if mark is None:
            return self.stop(Place(file=self.file, line=1, column=1, source=""), str(error))
        if error.context_mark is not None and not self.text[mark.index :].strip():
            mark = error.context_mark  # at the end of the text: what was opened and never closed
        place = self.place(mark)
        problem = error.problem or "not valid YAML"
        rest = place.source[place.column - 1 :]
        before = place.source[: place.column - 1]
        if rest.startswith("\t") or (not before.strip() and "\t" in before):
            message = "a tab; expected spaces (YAML does not indent with tabs)"
        elif before.endswith("$") and rest.startswith("{"):
            place = replace(place, column=place.column - 1)
            message = 'a reference inside { } or [ ] without quotes; expected "${...}"'
        elif "cannot start any token" in problem and rest:
            message = f"a value can't begin with {rest[0]}; expected quotes around it"
        else:
            known = (words for start, words in _REWORDED.items() if problem.startswith(start))
            message = next(known, f"not valid YAML: {problem}")
        return self.stop(place, message)

    def value(self, event: Any) -> _Value:
        place = self.place(event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            return self.alias(str(event.anchor), place)
        if event.tag not in _TEXT_TAGS:
            self.tagged(event.tag, place)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.stop(place, f"nested too deep; expected at most {MAX_DEPTH} levels")
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

    def scalar(self, event: Any, place: Place) -> Any:
        value, faults = read_scalar(
            event.value, plain=event.implicit[0], place=place, environment=self.environment
        )
        self.faults += faults
        return value

    def alias(self, anchor: str, place: Place) -> _Value:
        if anchor not in self.anchors:
            raise self.stop(
                place,
                f"the alias *{shown(anchor)} has no anchor; expected &{shown(anchor)} before it",
            )
        target = self.anchors[anchor]
        if target is None:
            raise self.stop(place, f"the alias *{shown(anchor)} stands inside its own anchor")
        return _Value(target.content, place, target.keys)

    def key(self, event: Any, at: Place) -> str | None:
        """The text of a key, read over; None for one that is a list, a map or an alias."""
        if not isinstance(event, yaml.ScalarEvent):
            self.value(event)
            return None
        if event.tag not in _TEXT_TAGS:
            self.tagged(event.tag, at)
        if event.anchor is not None:
            self.anchors[event.anchor] = _Value(event.value, at)
        text: str = event.value
        return text

    def tagged(self, tag: str, place: Place) -> None:
        name = shown(tag.replace("tag:yaml.org,2002:", "!!"))
        self.faults.append(place.fault(f"the tag {name}; expected plain data, without tags"))

    def mapping(self, place: Place) -> _Value:
        items: dict[str, _Value] = {}
        keys: dict[str, Place] = {}
        merged: list[_Value] = []
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            at = self.place(event.start_mark)
            name = self.key(event, at)
            value = self.value(next(self.events))
            if name is None:
                self.faults.append(at.fault("a key that is not a plain word; expected text"))
            elif name == "<<" and event.implicit[0]:
                merged += value.content if isinstance(value.content, list) else [value]
            elif name in items:
                self.faults.append(
                    at.fault(
                        f"the key '{shown(name)}' stands twice; expected it once (it is first on "
                        f"line {keys[name].line})"
                    )
                )
            else:
                items[name], keys[name] = value, at
        for source in merged:
            if not isinstance(source.content, dict):
                self.faults.append(source.place.fault("not a map; expected one to merge by '<<'"))
                continue
            for name, item in source.content.items():
                if name not in items:
                    items[name], keys[name] = item, source.keys[name]
        return _Value(items, place, keys)


def _expand(root: _Value, faults: list[Fault]) -> Document:
    """Plain data from the tree: aliases copied out, up to a bound, each copy with its own path."""
    document = Document(data=None)

    def expand(value: _Value, path: Path) -> Any:
        if len(document.values) >= MAX_VALUES:
            message = f"more values than {MAX_VALUES:,}, with those that aliases repeat"
            raise SpecError([*faults, value.place.fault(message)])
        if len(path) >= MAX_DEPTH:
            message = f"nested too deep by aliases; expected at most {MAX_DEPTH} levels"
            raise SpecError([*faults, value.place.fault(message)])
        document.values[path] = value.place
        if isinstance(value.content, dict):
            for name, place in value.keys.items():
                document.keys[(*path, name)] = place
            return {name: expand(item, (*path, name)) for name, item in value.content.items()}
        if isinstance(value.content, list):
            return [expand(item, (*path, index)) for index, item in enumerate(value.content)]
        return value.content

    document.data = expand(root, ())
    return document
