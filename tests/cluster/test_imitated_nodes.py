"""Several nodes, some of which declare accelerators: what is planned there, and where it runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.conftest import Imitated
from tests.conftest import Command

Write = Callable[..., str]

NODES = ["plain", "with-gpus", "with-tpus"]
SPEC = """\
name: placed
tasks:
  task:
    kind: train
    model: {name: mlp, args: {hidden: [8]}}
    data: {name: digits}
    max_steps: 3
    resources: RESOURCES
"""


def planned(command: Command, file: str) -> dict[str, Any]:
    done = command("plan", file, "--json")
    assert done.code == 0, done.err
    (task,) = json.loads(done.out)["tasks"]
    placement: dict[str, Any] = task["placement"]
    return placement


def test_nodes_shows_what_each_declares(beside: Command, imitated: Imitated) -> None:
    data = json.loads(beside("nodes", "--json").out)
    assert imitated.address in data["source"]
    assert "RAY_ADDRESS" in data["source"]
    nodes = {node["name"]: node for node in data["nodes"]}
    assert list(nodes) == NODES
    devices = {name: node["accelerators"] for name, node in nodes.items()}
    assert devices == {
        "plain": [],
        "with-gpus": [{"family": "gpu", "count": 2.0, "type": "L4", "resource": None}],
        "with-tpus": [{"family": "tpu", "count": 4.0, "type": "TPU-V6E", "resource": None}],
    }
    assert [node["memory_bytes"] for node in nodes.values()] == [2 * 10**9, 3 * 10**9, 4 * 10**9]
    shown = beside("nodes", "--address", imitated.address).out
    assert "--address" in shown
    assert "L4:2" in shown
    assert "TPU-V6E:4" in shown


@pytest.mark.parametrize(
    ("resources", "nodes", "device", "why"),
    [
        ("{cpus: 1}", ["plain"], "cpu", "keeps off nodes with accelerators"),
        ("{accelerators: [gpu:1, cpu]}", ["with-gpus"], "cuda", "gpu:1 fits with-gpus"),
        ("{accelerators: L4:2}", ["with-gpus"], "cuda", "2 workers of L4:1"),
        ("{accelerators: [H100:1, cpu]}", ["plain"], "cpu", "H100:1 fits nowhere"),
        ("{accelerators: [A100:1, gpu:1]}", ["with-gpus"], "cuda", "A100:1 fits nowhere"),
        ("{memory: 2.5GB}", ["with-gpus", "with-tpus"], "cpu", "any of 2 nodes"),
        ("{memory: 3.5GB}", ["with-tpus"], "cpu", "fits with-tpus"),
    ],
)
def test_a_task_is_planned_where_it_fits_and_told_why(
    beside: Command, spec: Write, resources: str, nodes: list[str], device: str, why: str
) -> None:
    placement = planned(beside, spec(SPEC.replace("RESOURCES", resources)))
    assert placement["nodes"] == nodes
    assert len(placement["node_ids"]) == len(nodes)
    assert placement["device"] == device
    assert why in placement["reason"]


@pytest.mark.parametrize(
    ("resources", "lacks", "nearest"),
    [
        (
            "{accelerators: gpu:8}",
            "asks for gpu:8, {} has {}; the largest offers 2",
            "num_workers: 2",
        ),
        ("{accelerators: A100:1}", "asks for A100:1, {} has 0", "L4:1"),
        ("{cpus: 64}", "asks for cpus:64, {} has 2; the largest offers 2", "cpus: 2"),
        ("{memory: 64GB}", "asks for memory:64GB, {} has {}GB; the largest offers 4GB", "4GB"),
    ],
)
def test_what_fits_nowhere_is_exit_3_with_every_node_and_the_nearest(
    beside: Command, spec: Write, resources: str, lacks: str, nearest: str
) -> None:
    has = {
        "{accelerators: gpu:8}": ("0", "2", "0"),
        "{memory: 64GB}": ("2", "3", "4"),
    }.get(resources, ("", "", ""))
    file = spec(SPEC.replace("RESOURCES", resources))
    for command in ["plan", "submit"] if "gpu" in resources else ["plan"]:
        done = beside(command, file)
        assert (done.code, done.out) == (3, "")
        for node, amount in zip(NODES, has, strict=True):
            assert lacks.format(node, amount) in done.err
        assert nearest in done.err.split("nearest:")[1]
    assert not (beside.folder / "runs").exists()


@pytest.mark.parametrize(
    ("resources", "node"), [("{cpus: 1}", "plain"), ("{memory: 3.5GB}", "with-tpus")]
)
def test_a_task_runs_on_the_node_that_it_was_planned_for(
    beside: Command, spec: Write, resources: str, node: str
) -> None:
    file = spec(SPEC.replace("RESOURCES", resources))
    (node_id,) = planned(beside, file)["node_ids"]
    done = beside("submit", file, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["tasks"]["task"]["node"] == node
    (running,) = [r for r in beside.records() if r["event"] == "attempt_running"]
    # What the worker was told of itself, not what the plan said.
    assert running["data"]["node_id"] == node_id
    assert running["data"]["node"] == node


@pytest.mark.parametrize("token", [None, "b" * 64])
def test_a_token_that_is_wrong_or_missing_is_exit_4_soon(
    beside: Command, imitated: Imitated, token: str | None
) -> None:
    environment = {
        name: value
        for name, value in beside.environment.items()
        if name not in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
    }
    if token is not None:
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    beside.environment = environment
    began_s = time.monotonic()
    done = beside("nodes")
    assert done.code == 4, done.err
    assert time.monotonic() - began_s < 10
    assert imitated.address in done.err
    assert "RAY_AUTH_TOKEN" in done.err
    assert "Traceback" not in done.err
