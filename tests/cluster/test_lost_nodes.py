"""A gang that loses a node: it goes on with what is left, from its checkpoint.

python -m pytest -m slow tests/cluster/test_lost_nodes.py
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.cluster.conftest import Imitated
from tests.conftest import Command, wait_for

Write = Callable[..., str]

# So much memory that two nodes of the three have room for one worker each.
ELASTIC = """\
name: elastic
tasks:
  task:
    kind: train
    model: {name: mlp, args: {hidden: [16]}}
    data: {name: digits}
    max_steps: 20000
    global_batch_size: 64
    checkpoint: {every_steps: 200}
    resources: {cpus: 1, memory: 2.5GB, num_workers: {min: 1, max: 2}}
"""


@pytest.mark.slow
def test_an_elastic_gang_goes_on_with_the_nodes_that_are_left(
    beside: Command, imitated: Imitated, spec: Write
) -> None:
    with beside.start("submit", spec(ELASTIC), "--json") as process:
        wait_for(lambda: list((beside.folder / "runs").glob("*/task/1/checkpoints/step-*")))
        imitated.remove("with-tpus")
        out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    task = json.loads(out)["tasks"]["task"]
    assert [each["status"] for each in task["history"]] == ["lost", "finished"]
    started = [r for r in beside.records() if r["event"] == "attempt_started"]
    assert sum(started[0]["data"]["placement"]["bundles"]) == 2
    assert sum(started[-1]["data"]["placement"]["bundles"]) == 1
    assert task["placement"]["nodes"] == ["with-gpus"]
    assert task["metrics"]["checkpoint/resumed_at_step"] >= 200
    assert task["series"]["train/loss"][-1][0] == 20000
