"""runner nodes: what a cluster offers, and with --bench what it can do."""

from __future__ import annotations

import json
import os

import pytest

from tests.cli.calling import Call, call
from tests.conftest import Command

__all__ = ["call"]


def test_this_machine_is_shown_without_a_cluster(call: Call) -> None:
    shown = call("nodes", "--address", "local")
    assert shown.code == 0
    source, line = shown.out.splitlines()
    assert source == "this machine (an embedded cluster)"
    data = json.loads(call("nodes", "--address", "local", "--json").out)
    assert line.split()[:2] == [data["nodes"][0]["name"], f"{data['nodes'][0]['cpus']:g}"]


def test_every_node_is_measured_in_a_run_of_its_own(command: Command) -> None:
    done = command("nodes", "--bench")
    assert done.code == 0, done.err
    head, units, row, *rest = done.out.splitlines()
    assert head.split()[:3] == ["node", "fp64", "fp32"] and units.split()[0] == "TFLOP/s"
    name, *figures = row.split()
    assert name == os.uname().nodename
    assert len(figures) == len(units.split()) and all(float(figure) > 0 for figure in figures)
    (report,) = (command.folder / "runs").glob("bench-nodes-*/report.json")
    assert rest == ["", f"report  runs/{report.parent.name}/report.html"]
    about = json.loads(report.read_text())
    assert about["command"] == "runner nodes --bench"
    (task,) = about["tasks"].values()
    assert (task["kind"], task["status"]) == ("bench", "finished")
    assert float(figures[-2]) == pytest.approx(task["metrics"]["bench/copy_gb_per_s"], rel=0.01)
    assert task["environment"]["cpu instructions"]
    assert "<h2>Roofline</h2>" in report.with_name("report.html").read_text()
