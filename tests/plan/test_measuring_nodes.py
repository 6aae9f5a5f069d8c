"""A plan that measures every node: each on what it has, and on itself alone."""

from __future__ import annotations

import pytest
from placing import node

from runner.errors import ClusterError
from runner.model import Inventory
from runner.plan.measuring import measure_nodes


def test_every_node_has_a_task_bound_to_it_for_all_that_it_has() -> None:
    nodes = (
        node("10.0.0.7", cpus=2.5),
        node("box", "gpu/H100:8 npu/:1", cpus=64),
        node("few-cpus", "gpu/:4", cpus=3),
        node("no-cpus", cpus=0),
        node("tpus", "tpu/TPU-V5E:8", cpus=96),
    )
    plan = measure_nodes(Inventory(source="by hand", nodes=nodes))
    assert plan.cluster == "by hand"
    assert [
        (each.task.name, each.placement.node_ids, each.placement.num_workers, each.placement.demand)
        for each in plan.tasks
    ] == [
        ("10-0-0-7", ("id-10.0.0.7",), 1, {"CPU": 2.0}),
        ("box", ("id-box",), 8, {"CPU": 8.0, "GPU": 1.0}),
        ("few-cpus", ("id-few-cpus",), 3, {"CPU": 1.0, "GPU": 1.0}),
        ("tpus", ("id-tpus",), 1, {"CPU": 96.0}),
    ]
    assert {each.wave for each in plan.tasks} == {0}
    assert [task.name for task in plan.job.tasks] == [each.task.name for each in plan.tasks]
    assert set(plan.job.spec["tasks"]) == {task.name for task in plan.job.tasks}


def test_names_that_are_none_for_a_task_are_made_so_and_stay_apart() -> None:
    names = ["a.b", "a_b", "a/b", "__", "é", "n" * 80]
    plan = measure_nodes(Inventory(source="s", nodes=tuple(node(name) for name in names)))
    assert [each.task.name for each in plan.tasks] == [
        "a-b", "a_b", "a-b-2", "node", "node-2", "n" * 48,
    ]  # fmt: skip
    assert [each.placement.nodes for each in plan.tasks] == [(name,) for name in names]


def test_a_cluster_without_a_cpu_can_not_be_measured() -> None:
    with pytest.raises(ClusterError, match="by hand has no node with a CPU"):
        measure_nodes(Inventory(source="by hand", nodes=(node("head", cpus=0),)))
