"""Nodes with NPUs, by Ray's names and by one of their own: tasks reach them and have them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cluster.conftest import Imitated, imitating
from tests.conftest import Command, environment

SPEC = """\
name: reached
tasks:
  trained:
    kind: train
    model: {{name: mlp, args: {{hidden: [8]}}}}
    data: {{name: digits}}
    max_steps: 3
    resources: {{accelerators: npu:1}}
  measured:
    kind: evaluate
    model: {model}
    data: {{name: digits}}
    resources: {{accelerators: npu-coral:1}}
"""


@pytest.fixture(scope="module")
def npus() -> Iterator[Imitated]:
    with imitating("npus") as cluster:
        yield cluster


@pytest.fixture
def beside_npus(npus: Imitated, tmp_path: Path) -> Command:
    return Command(environment(tmp_path / "state", **npus.variables), tmp_path)


def test_nodes_shows_them_whatever_they_are_called(beside_npus: Command) -> None:
    data = json.loads(beside_npus("nodes", "--json").out)
    assert {node["name"]: node["accelerators"] for node in data["nodes"]} == {
        "plain": [],
        "gaudi": [{"family": "npu", "count": 2.0, "type": "Intel-GAUDI2", "resource": "HPU"}],
        "board": [{"family": "npu", "count": 1.0, "type": "npu-coral", "resource": "npu-coral"}],
    }
    shown = beside_npus("nodes").out
    assert "Intel-GAUDI2:2" in shown and "npu-coral:1" in shown


@pytest.mark.skipif(find_spec("habana_frameworks") is not None, reason="Gaudi's package is here")
def test_tasks_reach_them_and_say_what_is_missing_there(
    beside_npus: Command, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason="the file to measure is for ONNX Runtime")
    pytest.importorskip("onnx", reason="the file to measure is made with onnx")
    from tests.serving.models import as_onnx, trained

    as_onnx(trained(tmp_path / "source"), tmp_path / "file")
    (tmp_path / "job.yaml").write_text(SPEC.format(model=tmp_path / "file"))
    done = beside_npus("submit", "job.yaml", "--json")
    assert done.code == 1, done.err
    tasks = json.loads(done.out)["tasks"]
    # The node has no NPU but says so, and nothing drives one there.
    trained_task = tasks["trained"]
    assert (trained_task["node"], trained_task["placement"]["device"]) == ("gaudi", "hpu")
    assert trained_task["placement"]["demand"]["HPU"] == 1
    assert "habana-torch-plugin is not installed on this node" in trained_task["error"]["message"]
    # What Ray does not know is a resource like any other, and the file is measured beside it.
    measured = tasks["measured"]
    assert (measured["node"], measured["placement"]["device"]) == ("board", "npu-coral")
    assert measured["status"] == "finished", measured["error"]
    assert measured["environment"]["caveat"] == (
        "measured on the CPU of a node with npu-coral, which nothing here drives"
    )
    assert measured["metrics"]["test/accuracy"] > 0.5
