"""Where the workers of a gang are put, and what is said where there is no room for all of them."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from placing import PARAMS, inventory, job, node, task

from runner.errors import PlanError
from runner.kinds.division import is_divisible
from runner.kinds.training import TrainingParams
from runner.model import Node, Placement, PlannedTask, Resources
from runner.plan import place, usable_counts
from runner.spec.shape import ResourcesSpec

EIGHT = node("eight", "gpu/H100:8", cpus=64)
PAIR = node("pair", "gpu/L4:2", cpus=8)
OTHER = node("other", "gpu/L4:2", cpus=8)
SINGLE = node("single", "gpu/L4:1", cpus=8)
CPU = node("cpu", cpus=4, gb=8)


def planned(wanted: str, *nodes: Node, params: dict[str, Any] | None = None, **more: Any) -> (
    PlannedTask
):  # fmt: skip
    more["params"] = {**PARAMS, **(params or {})}
    return place(job(task(devices=wanted, **more)), inventory(*nodes)).tasks[0]


def placed(wanted: str, *nodes: Node, **more: Any) -> Placement:
    return planned(wanted, *nodes, **more).placement


def refused(wanted: str, *nodes: Node, **more: Any) -> tuple[list[str], str]:
    with pytest.raises(PlanError) as caught:
        placed(wanted, *nodes, **more)
    [misfit] = caught.value.misfits
    return list(misfit.lacks), misfit.nearest


def tp(width: int) -> dict[str, Any]:
    return {"parallelism": {"tp": width, "tp_plan": {"1": "column"}}}


def test_a_gang_lies_on_one_node_or_on_several_together() -> None:
    one = placed("gpu", EIGHT, num_workers=8)
    assert (one.nodes, one.bundles, one.is_spread) == (("eight",), (1,) * 8, False)
    assert one.demand == {"CPU": 1.0, "GPU": 1.0}
    assert one.reason == "8 workers of gpu:1 fit eight"
    several = placed("L4", CPU, EIGHT, PAIR, SINGLE, num_workers=3)
    assert (several.nodes, several.node_ids) == (("pair", "single"), ("id-pair", "id-single"))
    assert several.reason == "3 workers of L4:1 fit 2 nodes, which hold 3 together"


def test_what_a_node_holds_is_bounded_by_each_resource() -> None:
    assert placed("gpu", EIGHT, num_workers=8, cpus=8.0).num_workers == 8
    assert refused("gpu", EIGHT, num_workers=8, cpus=9.0)[0] == [
        "asks for 8 workers of gpu:1, cpus:9, the nodes hold 7"
    ]
    assert refused("cpu", CPU, num_workers=3, memory_bytes=4 * 10**9)[0] == [
        "asks for 3 workers of cpus:1, memory:4GB, the nodes hold 2"
    ]
    assert placed("cpu", node("n", cpus=2), num_workers=8, cpus=0.25).num_workers == 8
    assert placed("cpu", node("n", cpus=0.3), num_workers=3, cpus=0.1).num_workers == 3


def test_over_nodes_it_is_spread_evenly() -> None:
    found = placed("gpu", PAIR, SINGLE, OTHER, num_workers=4, num_nodes=2)
    assert (found.nodes, found.bundles, found.is_spread) == (("pair", "other"), (2, 2), True)
    assert found.reason == "4 workers of gpu:1, 2 on each of 2 nodes, fit any of 2 nodes"
    # One node has room for all four, and counts for one of the two.
    lacks, nearest = refused("gpu", EIGHT, SINGLE, num_workers=4, num_nodes=2)
    assert lacks == [
        "asks for gpu:2 for 2 workers, single has 1; the largest offers 8",
        "asks for 2 nodes with 2 workers of gpu:1, cpus:1 each, there is 1",
    ]
    assert nearest == ("num_workers: 4, num_nodes: 1, accelerators: gpu:1, cpus: 1 would fit eight")
    together = placed("gpu", EIGHT, num_workers=4, num_nodes=1)
    assert (together.bundles, together.is_spread) == ((4,), False)


def test_ranks_that_divide_layers_lie_on_one_node() -> None:
    found = placed("gpu", PAIR, SINGLE, OTHER, num_workers=4, params=tp(2))
    assert (found.nodes, found.bundles) == (("pair", "other"), (2, 2))
    assert found.reason == ("4 workers of gpu:1, 2 on one node, fit 2 nodes, which hold 4 together")
    lacks, nearest = refused("gpu", PAIR, SINGLE, num_workers=4, params=tp(2))
    assert lacks == [
        "asks for gpu:2 for 2 workers, single has 1; the largest offers 2",
        "asks for 4 workers of gpu:1, cpus:1, the nodes hold 2",
    ]
    assert nearest == "num_workers: 2, accelerators: gpu:1, cpus: 1 would fit pair"


def test_live_nodes_go_before_those_to_be_started_which_are_of_one_type() -> None:
    types = node("small", "gpu/T4:1", most=3), node("large", "gpu/T4:4", most=2)
    assert placed("gpu", *types, PAIR, num_workers=2).nodes == ("pair",)
    found = placed("gpu", *types, PAIR, num_workers=6)
    assert (found.nodes, found.node_ids) == (("large",), ())
    assert found.reason == "6 workers of gpu:1 fit 2 of large, of which up to 2 can be started"
    assert placed("T4", *types, num_workers=3).labels == {"ray.io/accelerator-type": "T4"}
    lacks, nearest = refused("T4", *types, PAIR, num_workers=9)
    assert lacks == [
        "asks for T4:1, pair has 0 (but L4:2); the largest offers 4",
        "asks for 9 workers of T4:1, cpus:1, of node type small 3 can be started, which hold 3",
        "asks for 9 workers of T4:1, cpus:1, of node type large 2 can be started, which hold 8",
    ]
    assert nearest == "num_workers: 8, accelerators: T4:1, cpus: 1 would fit large"
    spread = placed("gpu", *types, num_workers=4, num_nodes=2)
    assert spread.reason == (
        "4 workers of gpu:1, 2 on each of 2 nodes, fit 2 of large, of which up to 2 can be started"
    )


def test_workers_on_cpus_keep_off_accelerators_where_there_is_room_elsewhere() -> None:
    found = placed("cpu", EIGHT, CPU, num_workers=4)
    assert found.nodes == ("cpu",)
    assert found.reason == "keeps off nodes with accelerators; 4 workers of cpus:1 fit cpu"
    assert placed("cpu", EIGHT, CPU, num_workers=5).nodes == ("eight", "cpu")


def test_what_all_nodes_hold_is_said_in_sum_and_a_smaller_gang_proposed() -> None:
    lacks, nearest = refused("gpu", CPU, PAIR, SINGLE, num_workers=8)
    assert lacks == [
        "asks for gpu:1, cpu has 0; the largest offers 2",
        "asks for 8 workers of gpu:1, cpus:1, the nodes hold 3 (pair 2, single 1)",
    ]
    assert nearest == "num_workers: 3, accelerators: gpu:1, cpus: 1 would fit 2 nodes"
    # Where it matters: 64 samples can't be divided among three.
    _, nearest = refused("gpu", CPU, PAIR, SINGLE, num_workers=8, params={"global_batch_size": 64})
    assert nearest == "num_workers: 2, accelerators: gpu:1, cpus: 1 would fit 2 nodes"
    with pytest.raises(PlanError) as caught:
        placed("gpu", PAIR, num_workers=4, num_nodes=2)
    assert caught.value.message.startswith(
        "task 't' asks for 4 workers of gpu:1, cpus:1 over 2 nodes, which nothing here can hold:"
    )


def test_where_not_one_worker_fits_each_is_made_smaller() -> None:
    assert refused("gpu", CPU, num_workers=2)[1] == (
        "num_workers: 2, accelerators: cpu, cpus: 1 would fit cpu"
    )
    _, nearest = refused("cpu", CPU, num_workers=8, cpus=1.0, params={"parallelism": {
        "dp_replicate": 8}})  # fmt: skip
    assert nearest == "num_workers: 8, cpus: 0.5 would fit cpu"


ELASTIC = {"global_batch_size": 96}


def elastic(*nodes: Node, **more: Any) -> Placement:
    more = {"num_workers": 8, "min_workers": 2, "params": ELASTIC, **more}
    return placed("gpu", *nodes, **more)


def test_an_elastic_gang_takes_the_most_that_fit_and_divide_the_batch() -> None:
    asked = task(num_workers=8, min_workers=2, params={**PARAMS, **ELASTIC})
    assert usable_counts(asked) == [8, 6, 4, 3, 2]
    assert elastic(EIGHT).num_workers == 8
    assert elastic(EIGHT).reason == "8 workers of gpu:1 fit eight"
    five = node("five", "gpu/L4:5")
    assert elastic(five).num_workers == 4
    assert elastic(five).reason == ("of 2 to 8 workers 4 can be used: 4 workers of gpu:1 fit five")
    # What is there is started with, though more could be started.
    assert elastic(PAIR, node("type", "gpu/L4:8", most=4)).nodes == ("pair",)
    with pytest.raises(PlanError) as caught:
        elastic(SINGLE, CPU)
    assert caught.value.message == (
        "task 't' asks for 2 to 8 workers of gpu:1, cpus:1, which nothing here can hold:\n"
        "  asks for gpu:1, cpu has 0; the largest offers 1\n"
        "  asks for at least 2 workers of gpu:1, cpus:1, the nodes hold 1\n"
        "  nearest: num_workers: 1, accelerators: gpu:1, cpus: 1 would fit single"
    )


def test_what_was_passed_over_is_said() -> None:
    nodes = SINGLE, node("more", "gpu/L4:1"), CPU
    found = placed("gpu cpu", *nodes, num_workers=2, params=tp(2))
    assert found.reason == (
        "2 workers of gpu:1, 2 on one node, fit nowhere; keeps off nodes with accelerators; "
        "2 workers of cpus:1, 2 on one node, fit cpu"
    )


def test_counts_that_don_t_divide_the_mesh_are_not_used() -> None:
    params = {**PARAMS, **ELASTIC, **tp(2)}
    assert usable_counts(task(num_workers=8, min_workers=2, params=params)) == [8, 6, 4, 2]
    spread = task(num_workers=8, min_workers=2, num_nodes=2, params={**PARAMS, **ELASTIC})
    assert usable_counts(spread) == [8, 6, 4, 2]
    assert usable_counts(task(num_workers=5)) == [5]
    assert usable_counts(replace(task(), kind="evaluate", params={})) == [1]
    bench = task(num_workers=4, min_workers=1, num_nodes=2)
    assert usable_counts(replace(bench, kind="bench", params={})) == [4, 2]


def test_an_earlier_alternative_with_fewer_workers_goes_before_a_later_one() -> None:
    params = {**PARAMS, **ELASTIC}
    asked = task(devices="H100 cpu", num_workers=8, min_workers=1, params=params)
    nodes = inventory(node("two", "gpu/H100:2", cpus=4), node("many", cpus=64))
    found = place(job(asked), nodes).tasks[0].placement
    assert (found.nodes, found.num_workers, found.device) == (("two",), 2, "cuda")


DEVICES = st.sampled_from(["", "gpu/L4:1", "gpu/H100:8", "gpu/:3", "gpu/L4:2 gpu/T4:2", "npu/:1"])
NODES = st.lists(
    st.builds(
        lambda devices, cpus, mb, most: node("n", devices, cpus=cpus, gb=mb / 1000, most=most),
        DEVICES,
        st.sampled_from([0, 0.5, 1, 2, 8, 64]),
        st.integers(0, 100_000),
        st.sampled_from([None, None, 1, 3]),
    ),
    min_size=1,
    max_size=5,
)
WIDTHS = st.sampled_from([{}, {"dp_replicate": 2}, {"tp": 2}, {"tp": 4}, {"dp_shard": 4}])


def request(words: str) -> Resources:
    """The resources that a suggestion spells, read as a spec would read them."""
    found: dict[str, Any] = dict(re.findall(r"(\w+): ([^,]+)(?:, |$)", words))
    found["cpus"] = float(found["cpus"])
    counts = {name: int(found[name]) for name in ("num_workers", "num_nodes") if name in found}
    return ResourcesSpec.model_validate({**found, **counts}).resolve(is_gang=True)


@settings(max_examples=500, derandomize=True, database=None, deadline=None)
@given(
    NODES,
    st.sampled_from(["gpu", "gpu cpu", "H100", "cpu", "L4 T4"]),
    st.integers(2, 24),
    st.sampled_from([None, None, 1, 2, 3]),
    st.booleans(),
    st.sampled_from([None, 24, 96]),
    WIDTHS,
    st.sampled_from([0.25, 1, 7.5, 64]),
    st.sampled_from([None, 10**6, 5 * 10**9]),
)
def test_what_is_suggested_fits_and_what_is_placed_lies_within_the_nodes(
    nodes: list[Node], devices: str, workers: int, num_nodes: int | None, is_elastic: bool,
    whole: int | None, widths: dict[str, int], cpus: float, memory: int | None,
) -> None:  # fmt: skip
    nodes = [
        replace(each, name=f"n{i}", id=None if each.count_max else f"id-n{i}")
        for i, each in enumerate(nodes)
    ]
    plan = {"tp_plan": {"1": "column"}} if "tp" in widths else {}
    params = {**PARAMS, "global_batch_size": whole, "parallelism": {**widths, **plan}}
    checked = TrainingParams.model_validate(params)
    asked = task(
        devices=devices, num_workers=workers, min_workers=2 if is_elastic else None,
        num_nodes=num_nodes, cpus=cpus, memory_bytes=memory, params=params,
    )  # fmt: skip
    if not any(is_divisible(checked, count, num_nodes) for count in (
            range(2, workers + 1) if is_elastic else [workers])):  # fmt: skip
        return  # no spec is checked that says so
    try:
        found = place(job(asked), inventory(*nodes)).tasks[0]
    except PlanError as error:
        nearest = error.misfits[0].nearest
        if not nearest:
            assert all(each.cpus * 10_000 < workers for each in nodes)
            return
        words, _, where = nearest.partition(" would fit ")
        closer = request(words)
        assert is_divisible(checked, closer.num_workers, closer.num_nodes)
        again = place(job(replace(asked, resources=closer)), inventory(*nodes)).tasks[0]
        assert again.placement.num_workers == closer.num_workers <= workers
        assert where == f"{len(again.placement.nodes)} nodes" or where in [n.name for n in nodes]
        assert closer.cpus <= cpus and (closer.memory_bytes or 0) <= (memory or 0)
    else:
        lies_within(found.placement, nodes)
        assert is_divisible(checked, found.placement.num_workers, num_nodes)
        assert found.batches is not None
        widths_of = found.placement.num_workers // widths.get("tp", 1)
        assert found.batches.num_workers == widths_of


def lies_within(placement: Placement, nodes: list[Node]) -> None:
    """Puts every bundle on some node, first come first served, as the resources allow."""
    room = [
        {"CPU": each.cpus, "memory": each.memory_bytes, "GPU": sum(
            d.count for d in each.accelerators if d.family == "gpu")}
        for each in nodes if each.name in placement.nodes for _ in range(each.count_max or 1)
    ]  # fmt: skip
    used: set[int] = set()
    for size, same in groupby(placement.bundles):
        for _ in same:
            for index, left in enumerate(room):
                fits = all(left[k] + 1e-6 >= v * size for k, v in placement.demand.items())
                if fits and not (placement.is_spread and index in used):
                    break
            else:
                pytest.fail(f"no room left for a bundle: {placement}")
            used.add(index)
            for key, amount in placement.demand.items():
                room[index][key] -= amount * size
