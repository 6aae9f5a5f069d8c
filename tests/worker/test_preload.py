"""A process that waits for a task has PyTorch at hand, unless it is told of another framework."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from runner.kinds import KINDS, PRELOAD, find


def held(**environment: str) -> str:
    code = "import runner.worker.preload, sys; print('torch' in sys.modules)"
    kept = {name: value for name, value in os.environ.items() if name != PRELOAD}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


def test_most_processes_have_pytorch_at_hand() -> None:
    assert held() == "True"
    assert held(**find("train").environment({})) == "True"


def test_one_for_keras_has_not() -> None:
    assert held(**find("keras").environment({})) == "False"


@pytest.mark.parametrize("kind", KINDS)
def test_a_process_of_its_own_is_only_needed_where_the_framework_is_another(kind: str) -> None:
    found = find(kind)
    params = {"framework": "keras"} if kind == "distill" else {}
    assert bool(found.environment(params)) == (kind in ("keras", "distill"))
    assert (found.framework_of(params) == "torch") == (found.environment(params) == {})
