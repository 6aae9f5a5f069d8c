"""Where tasks are put, and what is said of those that fit nowhere."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from placing import PARAMS, inventory, job, node, task

from runner.errors import PlanError
from runner.model import Node, Placement, Resources
from runner.plan import place
from runner.plan.offers import UNSTATED_MEMORY, lacks
from runner.spec.shape import ResourcesSpec


def placed(wanted: str, *nodes: Node, **more: Any) -> Placement:
    return place(job(task(devices=wanted, **more)), inventory(*nodes)).tasks[0].placement


CPU = node("cpu-1")
GPU = node("gpu-1", "gpu/L4:1")
H100 = node("h100-1", "gpu/H100:8")
TPU = node("tpu-1", "tpu/TPU-V5LITEPOD:4")


@pytest.mark.parametrize(
    ("wanted", "nodes", "device"),
    [
        ("cpu", "cpu-1", "cpu"),
        ("gpu", "gpu-1 h100-1", "cuda"),
        ("gpu:2", "h100-1", "cuda"),
        ("gpu:0.5", "gpu-1 h100-1", "cuda"),
        ("H100:8 gpu:1 cpu", "h100-1", "cuda"),
        ("H200:1 gpu:1 cpu", "gpu-1 h100-1", "cuda"),
        ("H200:1 H100:9 cpu", "cpu-1", "cpu"),
        ("h100", "h100-1", "cuda"),
        ("l4:1", "gpu-1", "cuda"),
        ("TPU-V5E:4", "tpu-1", "tpu"),
        ("tpu-v5litepod:1", "tpu-1", "tpu"),
        ("tpu:4", "tpu-1", "tpu"),
        ("npu:1 tpu:8 gpu:4", "h100-1", "cuda"),
    ],
)
def test_the_first_alternative_that_fits_is_taken(wanted: str, nodes: str, device: str) -> None:
    found = placed(wanted, CPU, GPU, H100, TPU)
    assert (" ".join(found.nodes), found.device) == (nodes, device)
    assert found.node_ids == tuple(f"id-{name}" for name in found.nodes)


def test_what_was_passed_over_is_said() -> None:
    assert placed("H200:1 gpu:9 cpu", CPU, GPU).reason == (
        "H200:1 fits nowhere; gpu:9 fits nowhere; keeps off nodes with accelerators; "
        "cpus:1 fits cpu-1"
    )


def test_a_cpu_task_keeps_off_accelerators_only_where_it_can() -> None:
    assert placed("cpu", GPU, CPU).nodes == ("cpu-1",)
    assert placed("cpu", GPU, node("small", cpus=1), cpus=4.0).nodes == ("gpu-1",)
    assert placed("cpu", GPU).nodes == ("gpu-1",)


def test_demand_is_in_the_words_of_ray() -> None:
    found = placed("gpu:0.5", GPU, cpus=2.0, memory_bytes=3_000_000_000)
    assert found.demand == {"CPU": 2.0, "GPU": 0.5, "memory": 3_000_000_000}
    assert placed("TPU-V5E:4", TPU).demand == {"CPU": 1.0, "TPU": 4.0}


def test_a_node_is_started_only_where_no_live_one_fits() -> None:
    kind = node("gpu-type", "gpu/H100:8", most=3)
    assert placed("gpu", GPU, kind).nodes == ("gpu-1",)
    started = placed("gpu:2", GPU, kind)
    assert (started.nodes, started.node_ids) == (("gpu-type",), ())
    assert started.reason == "gpu:2 fits gpu-type, of which up to 3 can be started"


def test_an_earlier_alternative_is_started_rather_than_a_later_one_taken() -> None:
    assert placed("H100 cpu", CPU, node("h", "gpu/H100:8", most=1)).nodes == ("h",)


@pytest.mark.parametrize(
    ("more", "missing"),
    [
        ({"cpus": 9.0}, ["asks for cpus:9, cpu-1 has 8; the largest offers 8"]),
        (
            {"memory_bytes": 64_000_000_000},
            ["asks for memory:64GB, cpu-1 has 32GB; the largest offers 32GB"],
        ),
        (
            {"memory_bytes": 10**12},
            ["asks for memory:1TB, cpu-1 has 32GB; the largest offers 32GB"],
        ),
        (
            {"memory_bytes": 32_000_000_001},  # never as much as there is
            ["asks for memory:32.1GB, cpu-1 has 32GB; the largest offers 32GB"],
        ),
        ({"cpus": 20_000.0}, ["asks for cpus:20000, cpu-1 has 8; the largest offers 8"]),
        (
            {"wanted": "H100:1"},
            ["asks for H100:1, cpu-1 has 0; the largest offers 0"],
        ),
    ],
)
def test_what_a_node_lacks_is_said(more: dict[str, Any], missing: list[str]) -> None:
    with pytest.raises(PlanError) as caught:
        placed(more.get("wanted", "cpu"), CPU, **{k: v for k, v in more.items() if k != "wanted"})
    assert list(caught.value.misfits[0].lacks) == missing


def test_large_nodes_are_told_in_whole_numbers() -> None:
    large = node("large", cpus=1024, gb=2_000)
    with pytest.raises(PlanError) as caught:
        placed("cpu", large, node("small", cpus=1, gb=0.5), cpus=2000.0, memory_bytes=4 * 10**12)
    assert caught.value.misfits[0].lacks == (
        "asks for cpus:2000, large has 1024; the largest offers 1024",
        "asks for memory:4TB, large has 2TB; the largest offers 2TB",
        "asks for cpus:2000, small has 1; the largest offers 1024",
        "asks for memory:4TB, small has 500MB; the largest offers 2TB",
    )
    assert caught.value.misfits[0].nearest == "cpus: 1024, memory: 2TB would fit large"


def test_memory_that_a_node_type_does_not_state_is_no_number() -> None:
    unstated = replace(node("type", most=1), memory_bytes=UNSTATED_MEMORY)
    with pytest.raises(PlanError) as caught:
        placed("gpu", unstated, CPU, memory_bytes=64_000_000_000)
    assert (
        "asks for memory:64GB, cpu-1 has 32GB; the largest offers an amount not stated"
        in caught.value.misfits[0].lacks
    )


def test_every_task_that_fits_nowhere_is_named_with_every_node() -> None:
    tasks = (task("fits"), task("big", "gpu:8 H200:1"), task("wide", cpus=100.0))
    with pytest.raises(PlanError) as caught:
        place(job(*tasks), inventory(CPU, GPU, node("type", "gpu/A100:4", most=2)))
    assert caught.value.message == (
        "task 'big' asks for gpu:8 or H200:1, cpus:1, which nothing here can hold:\n"
        "  asks for gpu:8, cpu-1 has 0; the largest offers 4\n"
        "  asks for gpu:8, gpu-1 has 1; the largest offers 4\n"
        "  asks for gpu:8, node type type has 4; the largest offers 4\n"
        "  asks for H200:1, cpu-1 has 0; the largest offers 0\n"
        "  asks for H200:1, gpu-1 has 0 (but L4:1); the largest offers 0\n"
        "  asks for H200:1, node type type has 0 (but A100:4); the largest offers 0\n"
        "  nearest: accelerators: gpu:4, cpus: 1 would fit type\n"
        "task 'wide' asks for cpus:100, which nothing here can hold:\n"
        "  asks for cpus:100, cpu-1 has 8; the largest offers 8\n"
        "  asks for cpus:100, gpu-1 has 8; the largest offers 8\n"
        "  asks for cpus:100, node type type has 8; the largest offers 8\n"
        "  nearest: cpus: 8 would fit cpu-1"
    )


def test_an_empty_cluster_holds_nothing() -> None:
    with pytest.raises(PlanError) as caught:
        placed("cpu")
    assert caught.value.misfits[0].lacks == ("by hand has no nodes",)
    assert caught.value.misfits[0].nearest == ""


@pytest.mark.parametrize(
    ("wanted", "nearest"),
    [
        ("gpu:16", "accelerators: gpu:8, cpus: 1 would fit h100-1"),
        ("H100:16", "accelerators: H100:8, cpus: 1 would fit h100-1"),
        ("H200:4", "accelerators: H100:4, cpus: 1 would fit h100-1"),
        ("TPU-V5E:8", "accelerators: TPU-V5E:4, cpus: 1 would fit tpu-1"),
        ("TPU-V6E:1", "accelerators: TPU-V5LITEPOD:1, cpus: 1 would fit tpu-1"),
        ("npu:1", "accelerators: cpu, cpus: 1 would fit cpu-1"),
    ],
)
def test_the_nearest_request_is_of_the_same_sort(wanted: str, nearest: str) -> None:
    with pytest.raises(PlanError) as caught:
        placed(wanted, CPU, GPU, H100, TPU)
    assert caught.value.misfits[0].nearest == nearest


DEVICES = st.sampled_from(
    ["", "gpu/L4:1", "gpu/H100:8", "gpu/:3", "gpu/Odd-GPU:2", "tpu/TPU-V5LITEPOD:4",
     "tpu/TPU-V6E:3", "npu/Ascend910B:2", "gpu/L4:2 gpu/T4:2", "gpu/H100:1 npu/:1"]
)  # fmt: skip
NODES = st.lists(
    st.builds(
        lambda devices, cpus, mb, most: node("n", devices, cpus=cpus, gb=mb / 1000, most=most),
        DEVICES, st.sampled_from([0, 0.5, 1, 2, 8, 64]), st.integers(0, 100_000),
        st.sampled_from([None, 1, 5]),
    ),
    min_size=1, max_size=5,
).map(lambda nodes: [named(each, f"n{i}") for i, each in enumerate(nodes)])  # fmt: skip
WISHES = st.lists(
    st.sampled_from(["gpu", "gpu:0.3", "gpu:4", "gpu:100", "H100:2", "L4", "H200:8", "TPU-V5E:8",
                     "tpu:2", "TPU-V7X:1", "npu:4", "Ascend310:1"]),
    max_size=3, unique=True,
)  # fmt: skip


def named(node: Node, name: str) -> Node:
    return replace(node, name=name, id=None if node.count_max is not None else f"id-{name}")


def request(words: str) -> Resources:
    """The resources that a suggestion spells, read as a spec would read them."""
    found: dict[str, Any] = dict(re.findall(r"(\w+): ([^,]+)(?:, |$)", words))
    found["cpus"] = float(found["cpus"])
    return ResourcesSpec.model_validate(found).resolve(is_gang=False)


@settings(max_examples=400, derandomize=True, database=None, deadline=None)
@given(
    NODES,
    WISHES,
    st.booleans(),
    st.sampled_from([0.25, 1, 2, 7.5, 64, 1000]),
    st.sampled_from([None, 10**6, 5 * 10**8, 10**11, 10**13]),
)
def test_what_is_suggested_fits_where_it_is_said_to(
    nodes: list[Node], wishes: list[str], cpu_too: bool, cpus: float, memory: int | None
) -> None:
    wanted = " ".join([*wishes, *(["cpu"] if cpu_too or not wishes else [])])
    asked = task("t", wanted, cpus=cpus, memory_bytes=memory)
    try:
        plan = place(job(asked), inventory(*nodes))
    except PlanError as error:
        nearest = error.misfits[0].nearest
        if not nearest:
            assert all(each.cpus == 0 for each in nodes)
            return
        words, name = nearest.split(" would fit ")
        [target] = [each for each in nodes if each.name == name]
        closer = request(words)
        assert not lacks(target, closer, closer.accelerators[0]), (nearest, target)
        again = replace(asked, resources=closer)
        assert place(job(again), inventory(target)).tasks[0].placement.nodes == (name,)
        assert closer.cpus <= cpus and (closer.memory_bytes or 0) <= (memory or 0)
    else:
        [one] = plan.tasks
        held = [each for each in nodes if each.name in one.placement.nodes]
        assert held and any(
            not lacks(held[0], asked.resources, choice) for choice in asked.resources.accelerators
        )


def test_waves_are_the_longest_chains() -> None:
    tasks = (
        task("e", depends_on=("d", "a")),
        task("a"),
        task("b", depends_on=("a",)),
        task("c"),
        task("d", depends_on=("b", "c")),
    )
    plan = place(job(*tasks), inventory(CPU))
    assert {each.task.name: each.wave for each in plan.tasks} == {
        "e": 3, "a": 0, "b": 1, "c": 0, "d": 2}  # fmt: skip
    assert [each.task.name for each in plan.tasks] == ["e", "a", "b", "c", "d"]


def test_a_chain_of_2000_tasks_is_planned_in_no_time() -> None:
    names = [f"t{i}" for i in range(2000)]
    chain = [task(name, depends_on=tuple(names[i - 1 : i])) for i, name in enumerate(names)]
    began = time.process_time()
    plan = place(job(*reversed(chain)), inventory(CPU))
    assert time.process_time() - began < 2.0
    assert {each.task.name: each.wave for each in plan.tasks} == {n: i for i, n in enumerate(names)}


@pytest.mark.parametrize(
    ("precision", "nearest"), [("auto", "accelerators: cpu, cpus: 1 would fit cpu-1"), ("fp8", "")]
)
def test_no_cpu_is_offered_to_a_task_in_fp8(precision: str, nearest: str) -> None:
    asked = task(devices="H100:1", params={**PARAMS, "precision": precision})
    with pytest.raises(PlanError) as raised:
        place(job(asked), inventory(CPU))
    assert raised.value.misfits[0].nearest == nearest
