"""Ray Data as a worker's stream: in order, bounded, beside a gang that has taken every CPU."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import stream_alone
from tests.conftest import environment


@pytest.fixture(scope="module")
def found() -> Iterator[dict[str, Any]]:
    """What the script tells; Ray's sockets lie in its folder, whose path has to be short."""
    folder = Path(tempfile.mkdtemp(prefix="stream-"))
    try:
        done = subprocess.run(
            [sys.executable, stream_alone.__file__, str(folder)],
            env=environment(folder / "state", RAY_AUTH_MODE="disabled"),
            capture_output=True,
            text=True,
            timeout=170,
        )
        assert done.returncode == 0, done.stderr
        yield json.loads(done.stdout.splitlines()[-1])
    finally:
        shutil.rmtree(folder)


def test_what_is_read_comes_in_order_as_it_was(found: dict[str, Any]) -> None:
    assert found["in order"] == [[number, [1000, 1000], "float32"] for number in range(24)]
    assert found["nothing"] == []


def test_reading_goes_on_where_a_gang_holds_every_cpu(found: dict[str, Any]) -> None:
    assert found["cpus left"] == 0.0


def test_what_is_read_ahead_is_bounded(found: dict[str, Any]) -> None:
    # Of 400 MB: an eighth of the store, and what two readers and the one who takes hold besides.
    ahead = found["ahead"]["ahead"] * stream_alone.BLOCK_BYTES
    assert ahead < stream_alone.STORE_BYTES
    assert found["ahead"]["rest"] == 99
    assert not found["spilled"]


def test_errors_come_through_as_they_were_raised(found: dict[str, Any]) -> None:
    assert found["task error"] == ["TaskError", "the file x is torn", "write it again"]
    kind, message, _ = found["bug"]
    assert kind == "TaskError" and "ZeroDivisionError: nothing to divide by" in message


def test_a_reader_that_is_killed_is_made_up_for(found: dict[str, Any]) -> None:
    assert found["again"] == [1, 2]


def test_a_reader_that_always_dies_is_given_up(found: dict[str, Any]) -> None:
    kind, message, _ = found["dies always"]
    assert kind == "TaskError" and "the data could not be read: WorkerCrashedError" in message
