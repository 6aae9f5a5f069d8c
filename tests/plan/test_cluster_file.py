"""cluster.yaml, read for a plan: ours is one that Ray takes, wrong ones are refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from placing import job, task

from runner.errors import PlanError, SpecError
from runner.model import Accelerator, Node, TpuSlice
from runner.plan import place
from runner.plan.cluster_file import read

OURS = Path(__file__).parent.parent.parent / "cluster.yaml"

NO_TYPES = "no node types; expected 'available_node_types' with a map of them"
WHOLE = "expected a whole number, 0 or more"
LABEL = "ray.io/accelerator-type"

SMALL = """\
max_workers: 5
head_node_type: head
available_node_types:
  head:
    resources: {CPU: 2}
  gpu:
    resources: {CPU: 8, GPU: 4, memory: 1000000000}
    labels: {ray.io/accelerator-type: L4}
    max_workers: 3
  none:
    resources: {CPU: 8}
    max_workers: 0
setup_commands: ["echo ${HOME} $(pwd)"]
"""


def nodes(text: str) -> dict[str, Node]:
    return {node.name: node for node in read(text.encode(), file="c.yaml").nodes}


def refused(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read(text.encode(), file="c.yaml")
    return [str(fault).removeprefix("c.yaml:") for fault in caught.value.faults]


def test_ours_is_one_that_ray_takes() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load(OURS.read_text())
    validate_config(prepare_config(config))


def test_ours_offers_what_it_says() -> None:
    found = {node.name: node for node in read(OURS.read_bytes(), file="cluster.yaml").nodes}
    assert {name: (node.cpus, node.count_max) for name, node in found.items()} == {
        "head": (4, 1), "cpu": (16, 4), "gpu-l4": (16, 4), "tpu-v6e": (180, 2)}  # fmt: skip
    assert found["gpu-l4"].accelerators == (Accelerator(family="gpu", type="L4", count=1),)
    assert found["tpu-v6e"].accelerators == (Accelerator(family="tpu", type="TPU-V6E", count=4),)


def test_ours_takes_tasks_for_every_sort_of_device() -> None:
    inventory = read(OURS.read_bytes(), file="cluster.yaml")
    tasks = [task(word, word) for word in ("cpu", "gpu", "L4", "TPU-V6E:4", "tpu:1")]
    plan = place(job(*tasks), inventory)
    assert {each.task.name: each.placement.nodes for each in plan.tasks} == {
        "cpu": ("head",), "gpu": ("gpu-l4",), "L4": ("gpu-l4",), "TPU-V6E:4": ("tpu-v6e",),
        "tpu:1": ("tpu-v6e",)}  # fmt: skip
    with pytest.raises(PlanError):
        place(job(task("t", "H100:1")), inventory)


def test_how_many_may_run_is_bounded_by_both_limits() -> None:
    assert {name: node.count_max for name, node in nodes(SMALL).items()} == {"head": 1, "gpu": 3}
    head = nodes(SMALL.replace("{CPU: 2}", "{CPU: 2}\n    max_workers: 2"))["head"]
    assert head.count_max == 3  # two workers of its type, and itself
    assert nodes(SMALL.replace("max_workers: 5", "max_workers: 1"))["gpu"].count_max == 1
    assert nodes(SMALL.replace("max_workers: 5\n", ""))["gpu"].count_max == 2
    assert set(nodes(SMALL.replace("max_workers: 5", "max_workers: 0"))) == {"head"}


@pytest.mark.parametrize(
    ("more", "topology", "pod_type"),
    [
        ("node_config: {acceleratorType: v4-16}", None, "v4-16"),
        ("node_config: {acceleratorConfig: {type: V4, topology: 2x2x2}}", "2x2x2", None),
        ("labels: {ray.io/accelerator-type: TPU-V4, ray.io/tpu-topology: 2x2x2}", "2x2x2", None),
    ],
)
def test_one_host_of_a_larger_slice_is_no_node_to_start_alone(
    more: str, topology: str | None, pod_type: str | None
) -> None:
    tpu = "{CPU: 8, TPU: 4}\n    labels: {ray.io/accelerator-type: TPU-V4}\n"
    if more.startswith("labels"):
        tpu = "{CPU: 8, TPU: 4}\n"
    text = SMALL.replace("{CPU: 2}\n", f"{{CPU: 2}}\n  v4:\n    resources: {tpu}    {more}\n")
    assert nodes(text)["v4"].tpu_slice == TpuSlice(topology=topology, pod_type=pod_type)
    with pytest.raises(PlanError) as caught:
        place(job(task("t", "TPU-V4:4")), read(text.encode(), file="c.yaml"))
    assert "v4 has 0 (its TPU-V4:4 is a part of a slice, which goes as a whole)" in str(
        caught.value
    )


def test_memory_counts_where_it_is_stated() -> None:
    found = nodes(SMALL)
    assert found["gpu"].memory_bytes == 1_000_000_000
    assert found["head"].memory_bytes > 10**15


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (r"(?s).*", "", f"1:1: {NO_TYPES}"),
        (r"(?s).*", "[1]", f"1:1: {NO_TYPES}"),
        (
            r"(?s)types:.*",
            "types: 3\n",
            f"3:23: {NO_TYPES}",
        ),
        ("type: head", "type: haed", "2:17: head_node_type is haed; did you mean 'head'?"),
        (
            "head_node_type: head\n",
            "",
            "1:1: head_node_type is missing; expected one of head, gpu, none",
        ),
        ("max_workers: 5", "max_workers: x", f"1:14: max_workers is x; {WHOLE}"),
        ("GPU: 4", "GPU: 0.5", f"7:30: GPU is 0.5; {WHOLE}"),
        ("GPU: 4", "GPU: -1", f"7:30: GPU is -1; {WHOLE}"),
        (
            r"resources: \{CPU: 2\}",
            "resources: 2",
            "5:5: the node type 'head' has no map of 'resources'; expected such as "
            "{CPU: 8, GPU: 1}",
        ),
        (
            r"    resources: \{CPU: 2\}\n",
            "    labels: {}\n",
            "4:3: the node type 'head' has no map of 'resources'; expected such as "
            "{CPU: 8, GPU: 1}",
        ),
        ("type: L4", "type: [L4]", f"8:39: {LABEL} is not text; expected such as L4"),
        ("max_workers: 3", "max_workers: true", f"9:18: max_workers is True; {WHOLE}"),
        ("max_workers: 3", "max_workers: 3\n    max_workers: 4",
         "10:5: the key 'max_workers' stands twice; expected it once (it is first on line 9)"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_in_place(old: str, new: str, fault: str) -> None:
    assert refused(re.sub(old, new, SMALL, count=1)) == [fault]


def test_all_faults_at_once() -> None:
    text = SMALL.replace("GPU: 4", "GPU: x").replace("type: head", "type: x")
    assert len(refused(text.replace("max_workers: 0", "max_workers: -1"))) == 3
