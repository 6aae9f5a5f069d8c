"""What is asked of a driver goes there as one line, and arrives as it was."""

from __future__ import annotations

import pytest

from runner.errors import Misfit, PlanError
from runner.model import Inventory, Node
from runner.plan.measuring import measure_nodes
from runner.runs.request import (
    Request,
    read_answer,
    refused,
    request_from_json,
    request_to_json,
)


def test_a_request_that_brings_its_plan_arrives_whole() -> None:
    node = Node(name="here", id="id", cpus=2, memory_bytes=10**9)
    plan = measure_nodes(Inventory(source="by hand", nodes=(node,)))
    request = Request(job=plan.job, storage="/s", submitted_at_s=1.5, secrets={}, plan=plan)
    line = request_to_json(request)
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert request_from_json(line) == request


def test_why_nothing_can_hold_a_job_arrives_with_what_to_do() -> None:
    misfit = Misfit(task="t", asks="tpu:4", lacks=("no TPU",), nearest="")
    with pytest.raises(PlanError) as caught:
        read_answer(refused(PlanError([misfit], hint="declare it")))
    assert caught.value.misfits == (misfit,)
    assert caught.value.hint == "declare it"
