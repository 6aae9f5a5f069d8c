"""TPU slices: which one a task takes, that it takes all of it, and what is said where it can't."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from placing import host, inventory, job, node, task

from runner.errors import PlanError
from runner.model import Node, Placement
from runner.plan import place
from runner.plan.cluster_file import read
from runner.spec.shape import ResourcesSpec
from runner.spec.topologies import GENERATIONS, chips, hosts

V4 = "tpu/TPU-V4:4"
CPU = node("cpu")
EIGHT = host("eight", "tpu/TPU-V5LITEPOD:8", of="small", topology="2x4")
A = [host(f"a-{i}", V4, of="a", topology="2x2x2") for i in range(2)]
B = [host(f"b-{i}", V4, of="b", topology="2x2x2") for i in range(2)]
WIDE = {"wanted": "TPU-V4:8", "topology": "2x2x2"}


def placed(*nodes: Node, wanted: str, **more: Any) -> Placement:
    return place(job(task(devices=wanted, **more)), inventory(*nodes)).tasks[0].placement


def refused(*nodes: Node, wanted: str, **more: Any) -> tuple[list[str], str, str]:
    with pytest.raises(PlanError) as caught:
        placed(*nodes, wanted=wanted, **more)
    [misfit] = caught.value.misfits
    return list(misfit.lacks), misfit.nearest, caught.value.hint


def test_a_slice_of_one_host_is_one_worker_with_all_of_its_chips() -> None:
    found = placed(CPU, EIGHT, *A, wanted="TPU-V5E:8", topology="2x4")
    assert (found.nodes, found.node_ids, found.device) == (("eight",), ("id-eight",), "tpu")
    assert found.demand == {"CPU": 1.0, "TPU": 8.0}
    assert (found.bundles, found.in_one_slice) == ((1,), False)
    assert found.reason == "TPU-V5E:8 (2x4) takes the slice small: all 8 chips of eight"


def test_a_slice_of_several_hosts_is_one_worker_on_each() -> None:
    found = placed(CPU, EIGHT, A[0], B[0], A[1], **WIDE)
    assert (found.nodes, found.node_ids) == (("a-0", "a-1"), ("id-a-0", "id-a-1"))
    assert found.demand == {"CPU": 1.0, "TPU": 4.0}
    assert (found.bundles, found.is_spread, found.in_one_slice) == ((1, 1), True, True)
    assert found.reason == (
        "TPU-V4:8 (2x2x2) takes the slice a: a worker on each of its 2 hosts, 4 chips each"
    )


def test_of_several_slices_whichever_is_free_is_taken() -> None:
    found = placed(*A, *B, **WIDE)
    assert found.nodes == ("a-0", "a-1", "b-0", "b-1")
    assert found.bundles == (1, 1) and found.in_one_slice
    assert found.reason.startswith("TPU-V4:8 (2x2x2) takes whichever of the slices a, b is free")


def test_eight_chips_of_v5e_lie_on_one_host_or_on_two() -> None:
    pair = [host(f"p-{i}", "tpu/TPU-V5E:4", of="pair", topology="2x4") for i in range(2)]
    asked: dict[str, Any] = {"wanted": "TPU-V5E:8", "topology": "2x4"}
    assert placed(*pair, EIGHT, **asked).nodes == ("eight",)
    assert placed(*pair, **asked).bundles == (1, 1)
    assert placed(*pair, EIGHT, **asked, num_workers=2, num_nodes=2).nodes == ("p-0", "p-1")
    lacks, _, _ = refused(*pair, **asked, num_nodes=1)
    assert lacks == ["asks for TPU-V5E:8 (2x4) on 1 hosts, the slice pair has 2"]


def test_an_alternative_that_is_no_tpu_has_workers_of_its_own() -> None:
    found = placed(CPU, wanted="TPU-V4:8 cpu", topology="2x2x2")
    assert (found.nodes, found.device, found.bundles) == (("cpu",), "cpu", (1,))
    assert found.reason == "TPU-V4:8 (2x2x2) fits nowhere; cpus:1 fits cpu"


def test_a_host_that_says_nothing_of_a_slice_is_one_by_itself() -> None:
    plain = node("plain", "tpu/TPU-V6E:4")
    assert placed(plain, wanted="TPU-V6E:4", topology="2x2").nodes == ("plain",)
    lacks, nearest, _ = refused(plain, wanted="TPU-V6E:8", topology="2x4")
    assert lacks == [
        "asks for TPU-V6E:8 (2x4), plain is TPU-V6E:4 (2x2, as no label says otherwise)"
    ]
    assert nearest == (
        "accelerators: TPU-V6E:4, accelerator_args: {topology: 2x2}, cpus: 1 would fit plain"
    )


def test_a_host_of_a_larger_slice_is_given_to_nobody_alone() -> None:
    lacks, nearest, _ = refused(*A, wanted="TPU-V4:4")
    assert lacks == [
        f"asks for TPU-V4:4, {name} has 0 (its TPU-V4:4 is a part of a, which goes as a whole); "
        "the largest offers 0"
        for name in ("a-0", "a-1")
    ]
    assert nearest == (
        "accelerators: TPU-V4:8, accelerator_args: {topology: 2x2x2}, cpus: 1 would fit a"
    )
    assert placed(*A, EIGHT, wanted="tpu:4").nodes == ("eight",)
    # Nor where only the cloud's name for its size is known.
    named = host("named", V4, of="n", pod_type="v4-16")
    assert refused(named, wanted="TPU-V4:4")[0][0].startswith("asks for TPU-V4:4, named has 0")


@pytest.mark.parametrize(
    ("nodes", "lacks"),
    [
        ([A[1]], ["asks for TPU-V4:8 (2x2x2), of the slice a 1 of 2 hosts are up (a-1)"]),
        ([CPU], ["asks for TPU-V4:8 (2x2x2), cpu has no TPU"]),
        (
            [EIGHT],
            ["asks for TPU-V4:8 (2x2x2), the slice small is TPU-V5LITEPOD:8 (2x4)"],
        ),
        (
            [*A, *(replace(each, name=f"{each.name}-too", id="other") for each in A)],
            [
                "asks for TPU-V4:8 (2x2x2), 4 hosts say that they are of the slice a, which has 2: "
                "each slice needs a name (TPU_NAME) of its own"
            ],
        ),
        (
            [host("lost", V4, topology="2x2x2")],
            [
                "asks for TPU-V4:8 (2x2x2), lost is one of 2 hosts and does not say of which slice "
                "(TPU_NAME)"
            ],
        ),
        (
            [A[0], replace(A[1], cpus=0.5)],
            ["asks for cpus:1 on each host, a-1 has 0.5"],
        ),
        (
            [node("odd", "tpu/:4")],
            ["asks for TPU-V4:8 (2x2x2), odd is tpu:4 (of no known topology)"],
        ),
    ],
)
def test_what_a_slice_lacks_is_said(nodes: Sequence[Node], lacks: list[str]) -> None:
    assert refused(*nodes, **WIDE)[0] == lacks


def test_how_to_declare_a_tpu_that_ray_does_not_see_is_said() -> None:
    hint = refused(CPU, **WIDE)[2]
    assert "on each of its 2 hosts, with ids from 0:\n" in hint
    assert "TPU_TOPOLOGY=2x2x2 TPU_ACCELERATOR_TYPE=v4-16" in hint
    assert """--resources='{"TPU": 4}'""" in hint
    assert "TPU_ACCELERATOR_TYPE=v5litepod-4" in refused(CPU, wanted="tpu:4")[2]
    assert refused(CPU, wanted="gpu:1")[2] == ""


def test_how_to_declare_a_tpu_in_a_cluster_file_is_said_in_its_words() -> None:
    types = node("type", most=2)
    hint = refused(types, wanted="TPU-V6E:4")[2]
    assert hint.startswith("Ray's launcher knows of a TPU what its node type says")
    text = hint.partition("such as:\n")[2]
    file = f"available_node_types:\n tpu:\n{text}\n head: {{resources: {{CPU: 1}}}}\n"
    offered = read(f"{file}head_node_type: head\n".encode(), file="cluster.yaml")
    (declared,) = (each for each in offered.nodes if each.name == "tpu")
    assert placed(declared, wanted="TPU-V6E:4", topology="2x2").nodes == ("tpu",)
    # The launcher can't start such a slice.
    hint = refused(types, **WIDE)[2]
    assert "can't start the hosts of a slice together" in hint
    assert """--resources='{"TPU": 4}'""" in hint
    assert refused(types, wanted="gpu:1")[2] == ""


def test_a_smaller_slice_is_proposed_and_none_of_several_hosts_to_a_kind_of_one_worker() -> None:
    small = host("small", V4, of="s", topology="2x2x1")
    asked: dict[str, Any] = {"wanted": "TPU-V4:16", "topology": "2x2x4"}
    nearest = "accelerators: TPU-V4:{}, accelerator_args: {{topology: {}}}, cpus: 1 would fit {}"
    assert refused(*A, small, **asked)[1] == nearest.format(8, "2x2x2", "a")
    alone = {**asked, "kind": "evaluate", "params": {}}
    assert refused(*A, small, **alone)[1] == nearest.format(4, "2x2x1", "s")
    assert refused(CPU, **asked)[1] == (
        "accelerators: cpu, accelerator_args: null, cpus: 1 would fit cpu"
    )


def test_a_node_type_is_started_for_a_slice_of_one_host_only() -> None:
    kind = node("v6e", "tpu/TPU-V6E:4", most=2)
    found = placed(kind, wanted="TPU-V6E:4", topology="2x2")
    assert (found.nodes, found.node_ids, found.demand["TPU"]) == (("v6e",), (), 4.0)
    assert found.labels == {"ray.io/accelerator-type": "TPU-V6E"}
    assert found.reason == "TPU-V6E:4 (2x2) fits v6e, of which up to 2 can be started"
    wide = host("v4", V4, topology="2x2x2", most=4)
    assert refused(wide, **WIDE)[0] == [
        "asks for TPU-V4:8 (2x2x2), node type v4 is one of 2 hosts, which Ray's launcher can't "
        "start together"
    ]
    assert placed(wide, *A, **WIDE).nodes == ("a-0", "a-1")


KINDS = {"TPU-V4": ("2x2x1", "2x2x2", "2x2x4"), "TPU-V5E": ("2x2", "2x4", "4x4")}
SLICE = st.sampled_from([(kind, each) for kind, all_of in KINDS.items() for each in all_of])


@st.composite
def hosts_of_slices(draw: st.DrawFn) -> list[Node]:
    """Hosts of up to five slices, of some of which a host is down, in any order."""
    nodes: list[Node] = []
    for index in range(draw(st.integers(0, 5))):
        kind, topology = draw(SLICE)
        count = draw(st.sampled_from(hosts(GENERATIONS[kind], topology)))
        up = draw(st.sampled_from([count, count, max(1, count - 1)]))
        nodes += [
            host(
                f"s{index}-{each}", f"tpu/{kind}:{chips(topology) // count}", of=f"s{index}",
                topology=topology, cpus=draw(st.sampled_from([1, 1, 1, 0.5])),
            )
            for each in range(up)
        ]  # fmt: skip
    nodes += draw(st.lists(st.just(CPU), max_size=1))
    return draw(st.permutations(nodes))


@settings(max_examples=400, derandomize=True, database=None, deadline=None)
@given(hosts_of_slices(), SLICE)
def test_a_task_takes_whole_slices_alone_and_what_is_proposed_fits(
    nodes: list[Node], wanted: tuple[str, str]
) -> None:
    kind, topology = wanted
    asked = task(devices=f"{kind}:{chips(topology)}", topology=topology)
    usable = {
        name: [each for each in nodes if each.tpu_slice and each.tpu_slice.name == name]
        for name in {each.tpu_slice.name for each in nodes if each.tpu_slice}
    }
    whole = {
        name: len(found)
        for name, found in usable.items()
        if sum(d.count for each in found for d in each.accelerators) == chips(topology)
        and all(each.tpu_slice and each.tpu_slice.topology == topology for each in found)
        and all(each.accelerators[0].type == kind and each.cpus >= 1 for each in found)
    }
    try:
        found = place(job(asked), inventory(*nodes)).tasks[0].placement
    except PlanError as error:
        assert not whole
        if nearest := error.misfits[0].nearest:
            words, name = nearest.split(" would fit ")
            again = replace(asked, resources=request(words))
            taken = place(job(again), inventory(*nodes)).tasks[0].placement
            if again.resources.topology is None:
                assert taken.device == "cpu"
            else:
                assert name in {each.split("-")[0] for each in taken.nodes}
        return
    taken = Counter(node.split("-")[0] for node in found.nodes)
    assert taken.keys() <= whole.keys()
    assert all(taken[name] == whole[name] == found.num_workers for name in taken)
    assert found.in_one_slice == (found.num_workers > 1)
    assert found.demand["TPU"] * found.num_workers == chips(topology)


def request(words: str) -> Any:
    """The resources that a suggestion spells, read as a spec would read them."""
    found: dict[str, Any] = dict(re.findall(r"(\w+): ([^,]+)(?:, |$)", words))
    args = found.pop("accelerator_args", "null")
    if args != "null":
        found["accelerator_args"] = {"topology": args[len("{topology: ") : -1]}
    found["cpus"] = float(found["cpus"])
    return ResourcesSpec.model_validate(found).resolve(is_gang=True)
