"""A cluster of imitation nodes that stays up for the tests of this folder."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import pytest

from runner.cluster import reaper
from tests.conftest import Command, environment


@dataclass(frozen=True)
class Imitated:
    address: str
    token: str
    orders: TextIO

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a command that means this cluster."""
        return {
            "RAY_ADDRESS": self.address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
        }

    def remove(self, node: str) -> None:
        """Ends a node without a word, as if its machine were switched off."""
        self.orders.write(f"remove {node}\n")
        self.orders.flush()


@pytest.fixture(scope="module")
def imitated() -> Iterator[Imitated]:
    """A head and two nodes that declare accelerators they don't have."""
    with imitating("devices") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def sliced() -> Iterator[Imitated]:
    """The host of a v5e-8 and the hosts of two v4-16 slices, as Ray sees them; no TPU is here."""
    with imitating("slices") as cluster:
        yield cluster


@contextmanager
def imitating(which: str) -> Iterator[Imitated]:
    """A cluster of imitation nodes, ended by process id."""
    token, mark = secrets.token_hex(32), secrets.token_hex(8)
    # Ray's sockets lie in it, whose paths may be no longer than 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="imitated-"))
    about = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, reaper.VARIABLE: mark}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "imitation.py"), str(folder), which],
            env={**kept, **about},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            text=True,
        )
    try:
        with process:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / "log").read_text()
            assert process.stdin is not None
            yield Imitated(json.loads(line)["address"], token, process.stdin)
            process.kill()  # what it leaves is ended with it, below
    finally:
        reaper.reap(mark, folder)


@pytest.fixture
def beside(imitated: Imitated, tmp_path: Path) -> Command:
    """The command on a machine from which the imitated cluster is meant, and may be used."""
    return Command(environment(tmp_path / "state", **imitated.variables), tmp_path)
