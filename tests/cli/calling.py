"""The command line called in this process: what it prints and the exit code it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from runner import cli
from tests.conftest import Outcome

Call: TypeAlias = Callable[..., Outcome]


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Call]:
    """Calls ``runner`` in the test's folder, with no storage or width in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RUNNER_STORAGE", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*arguments: str) -> Outcome:
        capfd.readouterr()
        code = cli.run(list(arguments))
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    yield run
