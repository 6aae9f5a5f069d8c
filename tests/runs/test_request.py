"""What is asked of a driver goes there as one line, and arrives as it was."""

from __future__ import annotations

from runner.model import Inventory, Node
from runner.plan.measuring import measure_nodes
from runner.runs.request import Request, request_from_json, request_to_json


def test_a_request_that_brings_its_plan_arrives_whole() -> None:
    node = Node(name="here", id="id", cpus=2, memory_bytes=10**9)
    plan = measure_nodes(Inventory(source="by hand", nodes=(node,)))
    request = Request(job=plan.job, storage="/s", submitted_at_s=1.5, secrets={}, plan=plan)
    line = request_to_json(request)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert request_from_json(line) == request
