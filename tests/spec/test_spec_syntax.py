"""What can't be read, and what YAML lets pass and a spec does not: its place and words."""

from __future__ import annotations

import string
import time

import pytest
from refusing import TASK, faults, refused

EMPTY = "the file is empty; expected a map with 'name' and 'tasks'"
SPACES = "a tab; expected spaces (YAML does not indent with tabs)"
PLAIN = "expected plain data, without tags"
COLON = (
    "a ':' that can't stand here; expected another indentation, or quotes around text that "
    "holds ': '"
)
LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)

CASES = {
    "nothing": ("", f"1:1: {EMPTY}"),
    "blank lines": ("\n\n", f"1:1: {EMPTY}"),
    "only comments": ("# a\n  # b\n", f"1:1: {EMPTY}"),
    "only dashes": ("---", f"1:4: {EMPTY}"),
    "null": ("~\n", f"1:1: {EMPTY}"),
    "only a byte order mark": (b"\xef\xbb\xbf", f"1:1: {EMPTY}"),
    "a list": ("- a\n", "1:1: the file holds a list; expected a map with 'name' and 'tasks'"),
    "a word": ("hi", "1:1: the file holds a single value; expected a map with 'name' and 'tasks'"),
    "too large": (
        "# " + "x" * 1_000_000,
        "1:1: the file is too large; expected at most 1,000,000 bytes",
    ),
    "NUL": (b"name: x\0y\n", "1:8: a NUL byte; expected printable text"),
    "control character": (
        "name: x\nt: é日\x07\n",
        "2:6: a control character (U+0007); expected printable text",
    ),
    "Latin-1": (b"name: x\n\xc3\xa9 caf\xe9\n", "2:6: not UTF-8; expected text in UTF-8"),
    "UTF-16": ("name: x".encode("utf-16"), "1:1: not UTF-8; expected text in UTF-8"),
    "not UTF-8 after a byte order mark": (
        b"\xef\xbb\xbfab\xff",
        "1:3: not UTF-8; expected text in UTF-8",
    ),
    "tab before a key": ("name: x\n\ttasks: 1\n", f"2:1: {SPACES}"),
    "tab under a map": ("tasks:\n\ta: 1\n", f"2:1: {SPACES}"),
    "tab after spaces": ("tasks:\n  a:\n  \tkind: train\n", f"3:3: {SPACES}"),
    "two documents": (
        TASK + "---\n" + TASK,
        "8:1: a second document; expected one in a file",
    ),
    "Python tag": (
        TASK + "    seed: !!python/object/apply:os.system [ls]\n",
        f"8:11: the tag !!python/object/apply:os.system; {PLAIN}",
    ),
    "binary tag": (TASK + "    seed: !!binary aGk=\n", f"8:11: the tag !!binary; {PLAIN}"),
    "tag of one's own": ("!foo\n" + TASK, f"1:1: the tag !foo; {PLAIN}"),
    "tagged key": (TASK + "    !foo seed: 1\n", f"8:5: the tag !foo; {PLAIN}"),
    "list as key": (
        TASK + "    [a]: 2\n",
        "8:5: a key that is not a plain word; expected text",
    ),
    "map as key": (
        TASK + "    {a: b}: 2\n",
        "8:5: a key that is not a plain word; expected text",
    ),
    "alias as key": (
        "name: &n x\ntasks: {a: 1}\n*n : 1\n",
        "2:12: the task 'a' is not a map; expected its 'kind' and parameters",
        "3:1: a key that is not a plain word; expected text",
    ),
    "number as key": (TASK + "    1: 2\n", "8:5: unknown key '1'; see 'runner kinds'"),
    "null as key": (TASK + "    null: 2\n", "8:5: unknown key 'null'; see 'runner kinds'"),
    "true as key": (TASK + "    true: 2\n", "8:5: unknown key 'true'; see 'runner kinds'"),
    "empty key": (TASK + "    '': 2\n", "8:5: unknown key ''; see 'runner kinds'"),
    "very long key": (
        TASK + f"    ? {'k' * 100_000}\n    : 1\n",
        f"8:7: unknown key '{'k' * 57}...'; see 'runner kinds'",
    ),
    "escape sequence in a name": (
        TASK.replace("  a:", '  "\\e[31mred":'),
        "3:3: the task name '\\x1b[31mred'; expected letters (A-Z, a-z), digits, - and _, at most "
        "63, beginning with a letter or digit",
    ),
    "duplicate keys": (
        TASK + "    max_epochs: 2\n    max_epochs: 3\n",
        "8:5: the key 'max_epochs' stands twice; expected it once (it is first on line 7)",
        "9:5: the key 'max_epochs' stands twice; expected it once (it is first on line 7)",
    ),
    "alias without anchor": (
        TASK + "    seed: *x\n",
        "8:11: the alias *x has no anchor; expected &x before it",
    ),
    "alias of itself": (
        "name: x\ntasks: &t\n  a: *t\n",
        "3:6: the alias *t stands inside its own anchor",
    ),
    "billion laughs": (
        LAUGHS,
        "1:10: more values than 50,000, with those that aliases repeat",
    ),
    "deep by aliases": (
        "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 60)),
        "1:10: nested too deep by aliases; expected at most 40 levels",
    ),
    "100,000 lists deep": ("[" * 100_000, "1:41: nested too deep; expected at most 40 levels"),
    "deep by indentation": (
        "\n".join(" " * i + "a:" for i in range(100)),
        "41:41: nested too deep; expected at most 40 levels",
    ),
    "merge of a number": (TASK + "    <<: 3\n", "8:9: not a map; expected one to merge by '<<'"),
    "two colons": ("name: a: b\n", f"1:8: {COLON}"),
    "wrong indentation": ("name: x\n tasks: 1\n", f"2:7: {COLON}"),
    "colon after wide characters": ("日本: a: b\n", f"1:6: {COLON}"),
    "at sign": ("name: @x\n", "1:7: a value can't begin with @; expected quotes around it"),
    "open quote": (
        "name: 'x\ntasks: y\n",
        "1:7: a quote that isn't closed; expected the same quote again",
    ),
    "open map": (
        "name: {a: 1\n",
        "1:7: a map in { } that isn't closed; expected ',' or '}'",
    ),
    "open list": ("name: [a, b\n", "1:7: a list in [ ] that isn't closed; expected ',' or ']'"),
    "key without colon": (
        "name: x\ntasks\n",
        "2:1: a key without ':'; expected ': ' and a value after it",
    ),
    "unknown escape": ('name: "\\q"\n', "1:8: not valid YAML: found unknown escape character"),
}


@pytest.mark.parametrize("name", CASES)
def test_is_refused_at_its_place(name: str) -> None:
    text, *expected = CASES[name]
    assert refused(text) == expected


@pytest.mark.parametrize("name", ["100,000 lists deep", "billion laughs", "very long key"])
def test_hostile_input_is_refused_at_once(name: str) -> None:
    began = time.process_time()
    assert faults(CASES[name][0])
    assert time.process_time() - began < 2.0


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_lines_count_whatever_ends_them(line_break: str) -> None:
    text = (TASK + "    seeds: 1\n    env: 3\n").replace("\n", line_break)
    assert refused(text) == [
        "8:5: unknown key 'seeds'; did you mean 'seed'?",
        "9:10: env is 3; expected a map",
    ]
    assert [fault.source for fault in faults(text)] == ["    seeds: 1", "    env: 3"]


@pytest.mark.parametrize(
    "text",
    [TASK, "\ufeff" + TASK, TASK.replace("\n", "\r\n"), "---\n" + TASK, TASK + "...\n"],
    ids=["plain", "byte order mark", "CRLF", "dashes", "dots"],
)
def test_is_accepted(text: str) -> None:
    assert refused(text) == []


def test_aliases_and_merges_are_expanded() -> None:
    text = "name: job\ntasks:\n  a: &a\n    kind: train\n    model: {name: mlp}\n"
    text += "    data: {name: digits}\n    max_epochs: 1\n  b: {<<: *a, max_epochs: 2, seed: x}\n"
    assert refused(text) == ['8:36: seed is "x"; expected a whole number']
    assert refused(text.replace("name: digits", "name: digit")) == [
        "6:18: name is \"digit\"; expected one of digits, mnist5k, stdlib; did you mean 'digits'?",
        '8:36: seed is "x"; expected a whole number',
    ]


def test_scalars_are_typed_by_yaml_1_2() -> None:
    from runner.spec.scalars import typed_scalar

    typed = {"no": "no", "on": "on", "1e-3": 0.001, "007": 7, "0x1F": "0x1F", "1_000": "1_000",
             "": None, "Null": None, "TRUE": True, "+3": 3, ".5": 0.5, "3.": 3.0, "1:30": "1:30",
             "2026-01-01": "2026-01-01"}  # fmt: skip
    assert {text: typed_scalar(text) for text in typed} == typed
    assert [typed_scalar(text) for text in (".inf", "-.INF", "9" * 500)] == [
        float("inf"), float("-inf"), float("inf")]  # fmt: skip
    assert typed_scalar(".NaN") != typed_scalar(".NaN")


@pytest.mark.parametrize("char", [c for c in map(chr, range(256)) if c not in string.printable])
def test_no_character_gets_by_that_a_terminal_obeys(char: str) -> None:
    quoted = f'name: "\\x{ord(char):02x}"\n'
    for fault in faults(quoted):
        assert fault.message.isprintable()
