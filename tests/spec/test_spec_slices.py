"""TPUs in a spec: chips, topology and hosts agree, or it is said what would."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from refusing import TASK, refused

from runner.kinds import KINDS, Kind, Yield
from runner.model import Accelerator, Context, Resources
from runner.parameters import Parameters
from runner.spec import load
from runner.spec.schema import schema


class NoParams(Parameters):
    """Do nothing."""


def run(context: Context) -> Iterator[Yield]:
    yield from ()


@pytest.fixture(autouse=True)
def kinds_on_tpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """``wide`` runs on all hosts of a slice, ``single`` on one."""
    for name in ("wide", "single"):
        module = ModuleType(f"kind_{name}")
        module.KIND = Kind(  # type: ignore[attr-defined]
            name=name, summary="", params=NoParams, outputs=(), starter="",
            devices=("cpu", "tpu"), run=run, is_gang=name == "wide",
        )  # fmt: skip
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(KINDS, name, module.__name__)


def spec(resources: str, *, kind: str = "wide", default: str = "{}") -> str:
    return (
        f"name: job\nresources: {default}\ntasks:\n  a:\n    kind: {kind}\n"
        f"    resources: {resources}\n"
    )


def asked(resources: str, *, kind: str = "wide", default: str = "{}") -> Resources:
    text = spec(resources, kind=kind, default=default)
    return load(text.encode(), file="job.yaml", environment={}).tasks[0].resources


def tpu(kind: str, count: float) -> Accelerator:
    return Accelerator(family="tpu", type=kind, count=count)


ARGS = "accelerator_args: {topology: %s}"


def test_a_slice_is_asked_for_by_its_chips_and_topology() -> None:
    found = asked("{accelerators: TPU-V4:8, accelerator_args: {topology: 2x2x2}}")
    assert found == Resources(accelerators=(tpu("TPU-V4", 8),), topology="2x2x2")
    several = asked("{accelerators: [TPU-V5E:16, TPU-V6E:16, cpu], " + ARGS % "4x4" + "}")
    assert several.accelerators == (tpu("TPU-V5E", 16), tpu("TPU-V6E", 16), None)
    assert asked("{accelerators: TPU-V5E:4}").topology is None


def test_numbers_of_workers_and_nodes_follow_and_may_be_said() -> None:
    words = "{accelerators: TPU-V4:8, " + ARGS % "2x2x2"
    assert asked(words + ", num_workers: 2}").num_workers == 2
    assert asked(words + ", num_nodes: 2}").num_nodes == 2
    # Eight chips of v5e lie on one host or on two; a kind of one worker is for one.
    words = "{accelerators: TPU-V5E:8, " + ARGS % "2x4"
    assert asked(words + "}").num_nodes is None
    assert asked(words + ", num_workers: 1}").num_nodes == 1
    assert asked(words + ", num_workers: 2}").num_workers == 2
    assert asked(words + "}", kind="single").num_nodes == 1


def test_a_topology_among_the_defaults_means_nothing_to_tasks_on_other_devices() -> None:
    default = "{accelerators: TPU-V5E:8, " + ARGS % "2x4" + "}"
    assert asked("{}", default=default).topology == "2x4"
    assert asked("{accelerators: cpu}", default=default) == Resources()


FAULTS = {
    "{accelerators: TPU-V4:16, accelerator_args: {topology: 2x2x2}}": (
        "6:31: accelerators: TPU-V4:16 with topology 2x2x2, which has 8 chips (v4-16 counts "
        "cores, 2 a chip); expected TPU-V4:8, or topology: 2x2x4"
    ),
    "{accelerators: TPU-V5E:4, accelerator_args: {topology: 2x4}}": (
        "6:31: accelerators: TPU-V5E:4 with topology 2x4, which has 8 chips; expected "
        "TPU-V5E:8, or topology: 2x2"
    ),
    "{accelerators: TPU-V4:8}": (
        "6:31: accelerators: TPU-V4:8 is of several hosts, each with 4 chips at most; expected "
        "accelerator_args: {topology: 2x2x2}"
    ),
    "{accelerators: TPU-V4:20}": (
        "6:31: accelerators: 'TPU-V4:20': no slice has so many chips; the nearest that do: 16 or 32"
    ),
    "{accelerators: TPU-V5E:512}": (
        "6:31: accelerators: 'TPU-V5E:512': no slice has so many chips; the nearest that do: 256"
    ),
    "{accelerators: tpu:7}": (
        "6:31: accelerators: 'tpu:7': a worker takes 1, 2, 4 or 8 chips of a TPU host"
    ),
    "{accelerators: tpu:16}": (
        "6:31: accelerators: tpu:16 is of several hosts, each with 8 chips at most; expected a "
        "type and its topology, such as TPU-V4:8 and accelerator_args: {topology: 2x2x2}"
    ),
    "{accelerators: tpu:8, accelerator_args: {topology: 2x4}}": (
        "6:31: accelerators: tpu:8 has a topology but no type; expected such as TPU-V5E:8"
    ),
    "{accelerators: TPU-V5E:8, accelerator_args: {topology: 4x2}}": (
        "6:71: topology: TPU-V5E has no '4x2'; did you mean '2x4'?"
    ),
    "{accelerators: TPU-V5E:8, accelerator_args: {topology: 2X4}}": (
        "6:71: topology: TPU-V5E has no '2X4'; did you mean '2x4'?"
    ),
    "{accelerators: TPU-V5E:16, accelerator_args: {topology: 2x8}}": (
        "6:72: topology: TPU-V5E has no '2x8'; expected 4x4 for TPU-V5E:16"
    ),
    "{accelerators: TPU-V4:2, accelerator_args: {topology: ''}}": (
        "6:70: topology: TPU-V4 has no ''; expected one of 2x2x1, 2x2x2, 2x2x4, 2x4x4, 4x4x4, "
        "4x4x8, 4x4x12, 4x4x16, 4x4x20, 4x4x24, 4x8x8, 4x8x12, ..."
    ),
    "{accelerators: TPU-V5E:8, topology: 2x4}": (
        "6:42: unknown key 'topology'; did you mean 'accelerator_args'?"
    ),
    "{accelerators: TPU-V5E:8, accelerator_args: {}}": (
        "6:42: 'accelerator_args' has no 'topology'; expected it: how the chips of a TPU slice "
        "are arranged, such as 2x4 or 2x2x2; a slice goes to a task as a whole"
    ),
    "{accelerators: cpu, accelerator_args: {topology: 2x4}}": (
        "6:65: topology: it is of a TPU, and accelerators asks for cpu; expected such as "
        "TPU-V5E:8 there, or no accelerator_args"
    ),
    "{accelerators: TPU-V4:8, accelerator_args: {topology: 2x2x2}, num_workers: 4}": (
        "6:91: num_workers: a slice of 2x2x2 has 2 hosts; expected num_workers: 2, or none"
    ),
    "{accelerators: TPU-V4:8, accelerator_args: {topology: 2x2x2}, num_nodes: 1}": (
        "6:89: num_nodes: a slice of 2x2x2 has 2 hosts; expected num_nodes: 2, or none"
    ),
    "{accelerators: TPU-V4:8, accelerator_args: {topology: 2x2x2}, "
    "num_workers: {min: 1, max: 2}}": (
        "6:91: num_workers: a slice of 2x2x2 has 2 hosts, with a worker each; expected a number, "
        "or none"
    ),
    "{accelerators: TPU-V4:4, num_workers: 2}": (
        "6:54: num_workers: one worker drives the TPU chips of its host; expected num_workers: 1, "
        "or the slice that several hosts share: accelerator_args: {topology: 2x2x2} with TPU-V4:8"
    ),
    "{accelerators: [TPU-V4:8, TPU-V5E:8, cpu], accelerator_args: {topology: 2x2x2}}": (
        "6:88: topology: TPU-V5E has no '2x2x2'; expected 2x4 for TPU-V5E:8"
    ),
}


@pytest.mark.parametrize("resources", FAULTS)
def test_what_does_not_agree_is_one_fault_in_its_place(resources: str) -> None:
    assert refused(spec(resources)) == [FAULTS[resources]]


def test_a_kind_of_one_worker_takes_no_slice_of_several_hosts() -> None:
    words = "{accelerators: TPU-V4:8, " + ARGS % "2x2x2" + "}"
    assert refused(spec(words, kind="single")) == [
        "6:70: topology: a slice of 2x2x2 has 2 hosts, and this kind runs on one worker; expected "
        "one of a single host"
    ]


def test_kinds_that_compute_with_pytorch_take_no_tpu() -> None:
    words = "{accelerators: TPU-V5E:8, " + ARGS % "2x4" + "}"
    said = "accelerators: the kind {} does not run on TPU-V5E:8; expected cpu or gpu"
    assert refused(spec(words, kind="bench")) == ["6:31: " + said.format("bench")]
    assert refused(f"{TASK}    resources: {words}\n") == [f"8:31: {said.format('train')} or npu"]


def test_the_schema_knows_the_topology() -> None:
    definitions = schema()["$defs"]
    assert definitions["AcceleratorArgs"]["required"] == ["topology"]
    assert "accelerator_args" in definitions["ResourcesSpec"]["properties"]
