"""2,000 specs that began as a file of jobs/ and were damaged: accepted, or refused with a place."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from runner.errors import SpecError
from runner.spec import load

JOBS = sorted((Path(__file__).parent.parent.parent / "jobs").glob("*.yaml"))
ENVIRONMENT = {"N": "3", "WORD": "word", "ODD": "a: [b", "BYTES": "\udcff", "EMPTY": ""}

# What is put where a scalar stood, or anywhere at all.
PIECES = [
    "", "~", "null", "true", "no", "0", "-1", "3", "1e400", "1e-400", ".inf", "-.inf", ".nan",
    "9" * 30, "9" * 5000, "0x10", "x" * 200, "é日本", "\U0001f600", "'", '"', '"\\e[31m\\0"', "[]",
    "{}", "[[[]]]", "{a: {b: 1}}", "[1, x]", "- ", "- x", "? ", ": ", "a: b", "&a ", "*a", "*b",
    "&b [*b]", "<<: *a", "<<: 3", "!!str ", "!!python/object:os.system ", "!foo ", "# ", "---\n",
    "...\n", "%YAML 1.1\n", "|\n", ">-\n", "\t", " ", "  ", "\n", "\r\n", "\r", "\x85",
    "\u2028", "\ufeff", "\0", "\x07", "\x1b[2J", "@", "`", ",",
    "${", "${}", "${env:N}", "${env:WORD}", "${env:ODD}",
    "${env:BYTES}", "${env:EMPTY}", "${env:NONE}", "${tasks.", "${tasks.model.outputs.model}",
    "${tasks.student.outputs.model}", "${tasks.x.outputs.y}", "gpu:99999999", "H100:8", "npu",
    "cpu", "8GB", "0MB", "1d", "moons:no", "kind: train", "depends_on: [model]", "model:",
]  # fmt: skip

OPERATIONS = [
    "insert", "scalar", "key", "delete", "duplicate line", "delete line", "swap lines", "indent",
    "outdent", "delete span", "byte",
]  # fmt: skip

# An operation, where (as a share of the text, and of what it may take), and a piece to put there.
MUTATION = st.tuples(
    st.sampled_from(OPERATIONS),
    st.integers(0, 999),
    st.integers(0, 999),
    st.sampled_from(PIECES),
)


def mutate(source: bytes, operation: str, first: int, second: int, piece: str) -> bytes:
    if operation == "byte":
        at = len(source) * first // 1000
        return source[:at] + bytes([second % 256]) + source[at + 1 :]
    text = source.decode("utf-8", "replace")
    at = len(text) * first // 1000
    lines = text.split("\n")
    line = len(lines) * first // 1000
    other = len(lines) * second // 1000
    if operation == "insert":
        return (text[:at] + piece + text[at:]).encode()
    if operation == "delete":
        return (text[:at] + text[at + 1 :]).encode()
    if operation == "delete span":
        return (text[:at] + text[at + second % 40 :]).encode()
    if operation in ("scalar", "key"):
        pattern = r"(?<=[:\[,] )[^\n\[\]{},#]+" if operation == "scalar" else r"[A-Za-z_]+(?=:)"
        found = list(re.finditer(pattern, text))
        if not found:
            return source
        match = found[len(found) * first // 1000]
        if operation == "key" and second % 2:
            piece = found[len(found) * second // 1000].group()
        return (text[: match.start()] + piece + text[match.end() :]).encode()
    if operation == "duplicate line":
        lines.insert(other, lines[line])
    elif operation == "delete line":
        del lines[line]
    elif operation == "swap lines":
        lines[line], lines[other] = lines[other], lines[line]
    elif operation == "indent":
        lines[line] = " " * (second % 4 + 1) + lines[line]
    else:
        lines[line] = lines[line].removeprefix(" " * (second % 4 + 1))
    return "\n".join(lines).encode()


def refusal(source: bytes, folder: Path) -> SpecError | None:
    try:
        load(source, file="job.yaml", environment=ENVIRONMENT, folder=folder)
    except SpecError as error:
        return error
    return None


outcomes = {"accepted": 0, "refused": 0}


@settings(
    max_examples=2500,
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
@given(st.sampled_from(JOBS), st.lists(MUTATION, min_size=1, max_size=4))
def check_mutated(job: Path, mutations: list[tuple[str, int, int, str]]) -> None:
    source = job.read_bytes()
    for mutation in mutations:
        source = mutate(source, *mutation)
    error = refusal(source, job.parent)
    outcomes["refused" if error else "accepted"] += 1
    if error is None:
        return
    count = len(re.split("\r\n|[\n\r\x85\u2028\u2029]", source.decode("utf-8", "replace")))
    assert error.faults
    places = [(fault.line, fault.column) for fault in error.faults]
    assert places == sorted(places)
    for fault in error.faults:
        assert fault.message.strip() and fault.message.isprintable()
        assert fault.line in range(1, count + 1)
        assert fault.column in range(1, len(fault.source) + 2)
    assert len(set(error.faults)) == len(error.faults)


def test_mutated_specs_are_accepted_or_refused_with_a_place() -> None:
    check_mutated()
    # Neither so gentle that nothing is refused, nor so rough that only the parser is reached.
    assert sum(outcomes.values()) >= 2000
    assert outcomes["refused"] >= 1000
    assert outcomes["accepted"] >= 100


def test_the_files_themselves_are_accepted() -> None:
    assert len(JOBS) >= 4
    assert [refusal(job.read_bytes(), job.parent) for job in JOBS] == [None] * len(JOBS)
