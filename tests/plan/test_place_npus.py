"""NPUs go by several resources in Ray: each is reached by its own name, and what Ray does not know
by the name of the user's resource.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from placing import inventory, job, node, task

from runner.accelerators import accelerators_of, family_of
from runner.errors import PlanError
from runner.model import Node, Placement
from runner.plan import place
from runner.plan.cluster_file import read
from runner.plan.saved import from_json, to_json


def with_resources(name: str, kind: str | None = None, **amounts: float) -> Node:
    amounts = {key.replace("__", "-"): amount for key, amount in amounts.items()}
    return replace(node(name), accelerators=accelerators_of(amounts, kind))


CPU = node("plain")
GPU = node("gpu", "gpu/L4:1")
ASCEND = with_resources("ascend", "Ascend910B", NPU=8)
GAUDI = with_resources("gaudi", "Intel-GAUDI2", HPU=8)
NEURON = with_resources("inferentia", "aws-neuron-core", neuron_cores=2)
CORAL = with_resources("board", npu__coral=1)


def placed(wanted: str, *nodes: Node) -> Placement:
    return place(job(task(devices=wanted)), inventory(*nodes)).tasks[0].placement


def test_rays_resources_are_sorted_into_families() -> None:
    families = {name: family_of(name) for name in ("GPU", "TPU", "NPU", "HPU", "neuron_cores")}
    assert families == {
        "GPU": "gpu", "TPU": "tpu", "NPU": "npu", "HPU": "npu", "neuron_cores": "npu",
    }  # fmt: skip
    assert family_of("npu-coral") == "npu"
    assert {family_of(name) for name in ("CPU", "memory", "licences", "node:10.0.0.1")} == {None}


def test_every_accelerator_that_ray_looks_for_is_of_a_family() -> None:
    from ray._private.accelerators import get_all_accelerator_resource_names

    assert {family_of(name) for name in get_all_accelerator_resource_names()} == {
        "gpu", "tpu", "npu",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "where", "device", "resource"),
    [
        ("npu:1", "ascend", "npu", "NPU"),
        ("Ascend910B:2", "ascend", "npu", "NPU"),
        ("Intel-GAUDI2:1", "gaudi", "hpu", "HPU"),
        ("aws-neuron-core:2", "inferentia", "neuron_cores", "neuron_cores"),
        ("npu-coral:1", "board", "npu-coral", "npu-coral"),
        ("NPU-Coral", "board", "npu-coral", "npu-coral"),
        ("npu-edge:1 npu:4", "ascend", "npu", "NPU"),
    ],
)
def test_a_request_reaches_the_resource_that_the_node_has(
    wanted: str, where: str, device: str, resource: str
) -> None:
    found = placed(wanted, CPU, GPU, ASCEND, GAUDI, NEURON, CORAL)
    assert (found.nodes, found.device) == ((where,), device)
    assert set(found.demand) == {"CPU", resource}


@pytest.mark.parametrize(
    ("node_", "resource"),
    [(GAUDI, "HPU"), (NEURON, "neuron_cores"), (ASCEND, "NPU")],
)
def test_any_npu_that_ray_knows_will_do_and_the_plan_says_which(node_: Node, resource: str) -> None:
    found = placed("npu:1", CPU, node_)
    assert found.demand[resource] == 1
    assert found.reason == f"npu:1 fits {node_.name}, by its {resource}"


def test_one_of_a_users_own_name_is_had_by_that_name_alone() -> None:
    with pytest.raises(PlanError, match=r"asks for npu:1, board has 0 \(but npu-coral:1\)"):
        placed("npu:1", CPU, CORAL)


def test_one_placement_names_one_resource() -> None:
    both = with_resources("both", NPU=1, HPU=4)
    assert placed("npu:2", ASCEND, GAUDI, both).nodes == ("ascend",)
    assert placed("npu:2", both).demand == {"CPU": 1.0, "HPU": 2.0}
    # Two nodes of one NPU each are not a node of two.
    with pytest.raises(PlanError, match="asks for npu:9, ascend has 8"):
        placed("npu:9", ASCEND, GAUDI)


def test_a_name_that_no_node_declares_is_told_with_what_there_is() -> None:
    with pytest.raises(PlanError) as caught:
        placed("npu-corral:1", CPU, CORAL)
    said = str(caught.value)
    assert "asks for npu-corral:1, board has 0 (but npu-coral:1)" in said
    assert "nearest: accelerators: npu-coral:1, cpus: 1 would fit board" in said
    assert "--resources='{\"npu-corral\": 1}'" in caught.value.hint
    with pytest.raises(PlanError) as caught:
        placed("npu-corral:1", replace(CORAL, id=None, count_max=1))
    assert "resources: {CPU: 4, npu-corral: 1}" in caught.value.hint


VARIANT = with_resources("ascend", "Ascend910B3", NPU=8)


@pytest.mark.parametrize(
    ("wanted", "labels"),
    [("Ascend910B:1", {"ray.io/accelerator-type": "Ascend910B3"}), ("npu:1", {})],
)
def test_a_variant_is_what_it_is_a_variant_of(wanted: str, labels: dict[str, str]) -> None:
    assert placed(wanted, VARIANT).nodes == ("ascend",)
    assert placed(wanted, replace(VARIANT, id=None, count_max=2)).labels == labels


@pytest.mark.parametrize("wanted", ["Ascend910:1", "Ascend310:1"])
def test_a_variant_is_nothing_else(wanted: str) -> None:
    with pytest.raises(PlanError, match="but Ascend910B3:8"):
        placed(wanted, VARIANT)


def test_node_types_of_a_cluster_file_have_them_too() -> None:
    text = b"""
head_node_type: head
max_workers: 4
available_node_types:
  head: {resources: {CPU: 2}}
  gaudi:
    resources: {CPU: 8, HPU: 8}
    max_workers: 2
    labels: {ray.io/accelerator-type: Intel-GAUDI2}
  board: {resources: {CPU: 4, npu-coral: 1, licences: 3}, max_workers: 2}
"""
    types = {each.name: each for each in read(text, file="cluster.yaml").nodes}
    assert [str(device) for device in types["gaudi"].accelerators] == ["Intel-GAUDI2:8"]
    assert [str(device) for device in types["board"].accelerators] == ["npu-coral:1"]
    assert types["board"].resources == {"CPU": 4, "licences": 3}
    found = placed("Intel-GAUDI2:4", *types.values())
    assert (found.nodes, found.demand["HPU"]) == (("gaudi",), 4)
    assert found.labels == {"ray.io/accelerator-type": "Intel-GAUDI2"}


def test_a_plan_is_saved_and_read_with_its_resource() -> None:
    plan = place(job(task(devices="npu:1")), inventory(GAUDI))
    assert from_json(to_json(plan).encode(), file="plan.json") == plan
