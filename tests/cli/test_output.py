"""What becomes of a command whose output nobody takes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import Outcome


def run(*arguments: str, unbuffered: str = "", **streams: int) -> Outcome:
    done = subprocess.run(
        [sys.executable, "-m", "runner", *arguments],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        text=True,
        timeout=60,
        check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},  # type: ignore[call-overload]
    )
    return Outcome(done.returncode, done.stdout or "", done.stderr or "")


@pytest.fixture
def full() -> Iterator[int]:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["kinds"], ["--help"], ["schema"]])
def test_a_full_disk_is_told_in_one_line(full: int, arguments: list[str], unbuffered: str) -> None:
    done = run(*arguments, stdout=full, unbuffered=unbuffered)
    assert done.code == 1
    assert done.err == "error: the output can't be written: No space left on device\n"


@pytest.mark.parametrize(
    ("arguments", "code"), [(["frob"], 2), (["validate", "nowhere.yaml"], 2), (["kinds", "x"], 2)]
)
def test_where_no_error_can_be_told_the_exit_code_is_the_same(
    full: int, arguments: list[str], code: int
) -> None:
    assert run(*arguments).code == run(*arguments, stderr=full).code == code


def test_a_reader_that_has_gone_is_no_bug() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run("kinds", stdout=writing)
    os.close(writing)
    assert done.err == ""
    assert done.code == 1
