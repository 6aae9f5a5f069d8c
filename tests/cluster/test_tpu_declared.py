"""A node declares a TPU that it does not have: the task says what it found, and nothing hangs."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec

import pytest

from tests.conftest import Command

pytestmark = pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="needs TensorFlow: pip install 'runner[tf]'"
)

SPEC = """\
name: declared
tasks:
  task:
    kind: keras
    strategy: tpu
    fallback: FALLBACK
    model: {name: mlp, args: {hidden: [8]}}
    data: {name: digits}
    max_steps: 3
    resources: {accelerators: TPU-V6E:4}
"""


def test_without_a_fallback_the_task_fails_with_what_was_looked_for(
    beside: Command, spec: Callable[[str], str]
) -> None:
    done = beside("submit", spec(SPEC.replace("FALLBACK", "[]")), "--json")
    assert done.code == 1, done.err
    task = json.loads(done.out)["tasks"]["task"]
    assert task["status"] == "failed"
    assert task["placement"]["nodes"] == ["with-tpus"]
    assert task["placement"]["device"] == "tpu"
    error = task["error"]
    assert error["type"] == "TaskError"
    for part in ("no TPU", "/dev/accel* (none)", "TPU_NAME (not set)", "TPUClusterResolver"):
        assert part in error["message"]
    # Said by TensorFlow, or by the watch over it where this machine is too slow to hear it out.
    assert "NotFoundError" in error["message"] or "no answer within" in error["message"]


@pytest.mark.timeout(400)
def test_with_a_fallback_the_task_runs_on_the_node_without_its_tpu_and_says_so(
    beside: Command, spec: Callable[[str], str]
) -> None:
    done = beside("submit", spec(SPEC.replace("FALLBACK", "[one_device]")), "--json", timeout_s=300)
    assert done.code == 0, done.err
    task = json.loads(done.out)["tasks"]["task"]
    assert task["status"] == "finished"
    assert task["environment"]["caveat"].startswith("one CPU and not on a TPU, as ")
    assert task["metrics"]["test/accuracy"] > 0
