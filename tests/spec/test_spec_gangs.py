"""Several workers for one task: what a request comes to, and what speaks against it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from refusing import TASK, refused

from runner.errors import SpecError
from runner.model import Accelerator, Resources
from runner.spec import load

GPT = TASK.replace("{name: mlp}", "{name: gpt}").replace("{name: digits}", "{name: stdlib}")
EVALUATE = """\
  b:
    kind: evaluate
    model: ${tasks.a.outputs.model}
    data: {name: digits}
"""


def asked(resources: str, *, more: str = "", top: str = "") -> Resources:
    text = f"{TASK}    {more}\n    resources: {resources}\n{top}"
    return load(text.encode(), file="job.yaml", environment={}).tasks[0].resources


def gpus(*names: str | None) -> tuple[Accelerator | None, ...]:
    return tuple(name and Accelerator(family="gpu", type=name, count=1.0) for name in names)


@pytest.mark.parametrize(
    ("resources", "wanted"),
    [
        ("{}", {}),
        ("{num_workers: 4}", {"num_workers": 4}),
        ("{num_workers: 4, num_nodes: 2}", {"num_workers": 4, "num_nodes": 2}),
        ("{num_nodes: 2}", {"num_workers": 2, "num_nodes": 2}),
        ("{cpus: 2, num_workers: 2}", {"num_workers": 2, "cpus": 2.0}),
        (
            "{accelerators: H100:1, num_workers: 8}",
            {"num_workers": 8, "accelerators": gpus("H100")},
        ),
        (
            "{accelerators: H100:8}",
            {"num_workers": 8, "num_nodes": 1, "accelerators": gpus("H100")},
        ),
        (
            "{accelerators: [H100:8, A100:8, cpu], num_nodes: 2}",
            {"num_workers": 16, "num_nodes": 2, "accelerators": gpus("H100", "A100", None)},
        ),
        (
            "{accelerators: gpu:0.5}",
            {"accelerators": (Accelerator(family="gpu", count=0.5),)},
        ),
    ],
)
def test_a_request_comes_to_workers_of_one_gpu_each(resources: str, wanted: dict[str, Any]) -> None:
    assert asdict(asked(resources)) == asdict(Resources(**wanted))


def test_a_range_has_a_least_and_a_most() -> None:
    found = asked("{num_workers: {min: 1, max: 8}}", more="global_batch_size: 64")
    assert (found.num_workers, found.min_workers) == (8, 1)


def test_a_default_holds_for_every_task_and_a_task_may_say_otherwise() -> None:
    top = "resources: {num_workers: 2, accelerators: [gpu:1, cpu]}\n"
    assert asked("{cpus: 3}", top=top).num_workers == 2
    assert asked("{num_workers: 4}", top=top).num_workers == 4
    text = TASK + EVALUATE + top
    fault = (
        "12:26: num_workers: the kind evaluate runs on one worker; expected num_workers: 1 in "
        "the resources of 'b'"
    )
    assert refused(text) == [fault]
    assert refused(text.replace(EVALUATE, EVALUATE + "    resources: {num_workers: 1}\n")) == []


def test_a_kind_that_runs_on_one_worker_keeps_the_devices_it_asks_for() -> None:
    text = TASK + EVALUATE + "    resources: {accelerators: gpu:2}\n"
    job = load(text.encode(), file="job.yaml", environment={})
    assert job.tasks[1].resources == Resources(accelerators=(Accelerator(family="gpu", count=2.0),))
    found = refused(TASK + EVALUATE + "    resources: {num_nodes: 2}\n")
    assert found == [
        "12:28: num_nodes: the kind evaluate runs on one worker; expected num_nodes: 1 in the "
        "resources of 'b'"
    ]


def test_workers_that_do_the_same_side_by_side_are_a_gang_as_well() -> None:
    text = "name: job\ntasks:\n  a: {kind: bench, resources: RESOURCES}\n"

    def of(resources: str) -> str:
        return text.replace("RESOURCES", resources)

    job = load(of("{accelerators: H100:8}").encode(), file="job.yaml", environment={})
    assert job.tasks[0].resources == Resources(
        num_workers=8, num_nodes=1, accelerators=gpus("H100")
    )
    assert refused(of("{num_workers: {min: 1, max: 8}}")) == []
    assert refused(of("{num_workers: 3, num_nodes: 2}")) == [
        "3:32: a: num_workers 3 is not divisible by num_nodes 2; the nearest that is: 2 or 4"
    ]


TP = "parallelism: {tp: 2, tp_plan: {'1': column}}"
WRONG = {
    "resources: {num_workers: 0}": "8:30: num_workers is 0; expected at least 1",
    "resources: {num_workers: x}": '8:30: num_workers is "x"; expected a whole number or a map',
    "resources: {num_workers: {min: 1}}": (
        "8:17: 'num_workers' has no 'max'; expected it: the most that are of use"
    ),
    "resources: {num_workers: {min: 3, max: 2}}": (
        "8:31: num_workers: min 3 is more than max 2; expected at most that"
    ),
    "resources: {num_workers: {min: 1, max: 2, mx: 3}}": (
        "8:47: unknown key 'mx'; did you mean 'max'?"
    ),
    "resources: {num_workers: 5, num_nodes: 2}": (
        "8:17: a: num_workers 5 is not divisible by num_nodes 2; the nearest that is: 4 or 6"
    ),
    "resources: {num_workers: 2, accelerators: gpu:2}": (
        "8:47: accelerators: gpu:2 with num_workers 2; one worker drives one GPU, expected gpu:1 "
        "with num_workers: 4, or without num_workers"
    ),
    "resources: {num_workers: 2, accelerators: [H100:1, 'gpu:0.5', cpu]}": (
        "8:56: accelerators: gpu:0.5 is a share of a GPU, which goes with one worker only; "
        "expected gpu:1 for each"
    ),
    "resources: {accelerators: [H100:8, gpu:4, cpu]}": (
        "8:31: accelerators: H100:8 and gpu:4 make different numbers of workers; expected one "
        "number, or num_workers and one device in each"
    ),
    "resources: {accelerators: gpu:90000}": (
        "8:31: accelerators: they make 90000 workers; expected at most 10000"
    ),
    "resources: {num_workers: {min: 1, max: 4}}": (
        "8:17: a: num_workers from 1 to 4 keeps one global batch, however many there are; "
        "expected global_batch_size"
    ),
    "global_batch_size: 7\n    resources: {num_workers: {min: 2, max: 4}}": (
        "8:5: a: no num_workers from 2 to 4 will do; with 4, global_batch_size 7 is not divisible "
        "by 4 workers; the nearest that is: 4 or 8"
    ),
    f"{TP}\n    global_batch_size: 64\n    resources: {{num_workers: {{min: 1, max: 4}}}}": (
        "8:19: a: num_workers from 1 to 4: tp 2 x pp 1 = 2 does not divide num_workers 1; the "
        "nearest num_workers that it does: 2"
    ),
    "global_batch_size: 64\n    resources: {num_workers: 3}": (
        "8:5: a: global_batch_size 64 is not divisible by 3 workers; the nearest that is: 63 or 66"
    ),
    f"{TP}\n    resources: {{num_workers: 3}}": (
        "8:19: a: tp 2 x pp 1 = 2 does not divide num_workers 3; the nearest num_workers that it "
        "does: 2 or 4"
    ),
    TP: (
        "8:19: a: tp 2 x pp 1 = 2 does not divide num_workers 1; the nearest num_workers that it "
        "does: 2"
    ),
    f"{TP.replace('2', '4', 1)}\n    resources: {{num_workers: 4, num_nodes: 2}}": (
        "8:19: a: num_nodes 2 leaves 2 workers on a node, where those that divide a layer, tp 4, "
        "lie together; expected fewer nodes, or num_workers 8 or a multiple of it"
    ),
    "parallelism: {tp: 2}\n    resources: {num_workers: 2}": (
        "8:19: a: tp 2: nothing says how to divide the layers of mlp; expected tp_plan, or the "
        "model vit or gpt"
    ),
    "parallelism: {dp_replicate: 2, dp_shard: 2}\n    resources: {num_workers: 2}": (
        "8:19: a: dp_replicate 2 x dp_shard 2 = 4 is not the 2 data-parallel workers; leave one "
        "of them out and it is derived"
    ),
    "parallelism: {strategy: ddp, dp_shard: 2}\n    resources: {num_workers: 2}": (
        "8:19: a: ddp does not shard; leave dp_shard out, or take strategy: fsdp"
    ),
    "parallelism: {pp: 2}\n    resources: {num_workers: 2}": (
        "8:19: a: pp 2 under 1f1b keeps 2 stages busy, each with a micro-batch of its own, and a "
        "step has microbatches 1 x 1 accumulated; expected microbatches of at least 2"
    ),
    "parallelism: {pp: 2, microbatches: 3}\n    resources: {num_workers: 2}": (
        "8:26: a: microbatches 3 does not divide per_device_batch_size 64; the nearest that does: "
        "2 or 4"
    ),
    "parallelism: {pp: 2, microbatches: 4, pp_split: ['1', '2']}\n"
    "    resources: {num_workers: 2}": (
        "8:19: a: pp_split names 2 cuts, and pp 2 with 1f1b makes 2 stages; expected 1"
    ),
    "parallelism: {pp: 2, microbatches: 5, pp_schedule: zero-bubble}\n"
    "    global_batch_size: 10\n    resources: {num_workers: 2}": (
        "8:19: a: microbatches 5 x 1 accumulated = 5 can't be sent in equal rounds through pp 2 "
        "under zero-bubble; the nearest that can: 4 or 6"
    ),
    "parallelism: {dp: 2}": (
        "8:19: unknown key 'dp'; expected one of strategy, dp_replicate, dp_shard, tp, tp_plan, "
        "pp, pp_schedule, pp_split, microbatches, reshard_after_forward, cpu_offload"
    ),
    "num_workers: 2": "8:5: unknown key 'num_workers'; did you mean 'resources.num_workers'?",
    "precision: bf16": (
        '8:16: precision is "bf16"; expected one of auto, fp32, bf16-mixed, fp16-mixed, '
        "bf16-true, fp8; did you mean 'bf16-mixed'?"
    ),
    "checkpoint: {keep: 0, every_steps: 5}": "8:24: keep is 0; expected at least 1",
    "checkpoint: {}": (
        "8:5: 'checkpoint' has no 'every_steps'; expected it: optimizer steps from one to the next"
    ),
}


@pytest.mark.parametrize("lines", WRONG)
def test_what_does_not_divide_is_one_fault_with_what_would(lines: str) -> None:
    assert refused(f"{TASK}    {lines}\n") == [WRONG[lines]]


OF_GPT = {
    "parallelism: {tp: 3}\n    resources: {num_workers: 3}": (
        "8:19: a: tp 3 does not divide the 4 heads of gpt; the nearest that does: 2 or 4"
    ),
    "parallelism: {pp: 2, microbatches: 2}\n    resources: {num_workers: 2}": (
        "8:19: a: pp 2: the first and the last stage of gpt would share the matrix that is tied; "
        "expected tied: false among its args"
    ),
}


@pytest.mark.parametrize("lines", OF_GPT)
def test_what_a_built_in_model_is_made_of_is_known(lines: str) -> None:
    assert refused(f"{GPT}    {lines}\n") == [OF_GPT[lines]]


RIGHT = [
    "resources: {num_workers: {min: 1, max: 4}}\n    global_batch_size: 6",
    "resources: {num_workers: 4}\n    parallelism: {dp_replicate: 2}",
    "resources: {num_workers: 4}\n    parallelism: {dp_replicate: 2, dp_shard: 2}",
    "resources: {num_workers: 8, num_nodes: 2}\n"
    "    parallelism: {tp: 2, pp: 2, tp_plan: {'1': column}, microbatches: 2}",
    "resources: {num_workers: 2}\n    parallelism: {pp: 2, pp_schedule: gpipe}",
    "precision: bf16-mixed",
    "checkpoint: {every_steps: 100}",
]


@pytest.mark.parametrize("lines", RIGHT)
def test_what_divides_is_right(lines: str) -> None:
    assert refused(f"{TASK}    {lines}\n") == []


def test_of_what_disagrees_the_overridden_is_shown() -> None:
    text = f"{TASK}    global_batch_size: 64\n    resources: {{num_workers: 4}}\n"
    assert refused(text) == []
    found = refused(text, overrides=["tasks.a.global_batch_size=63"])
    assert found == [
        "--set:1:1: a: global_batch_size 63 is not divisible by 4 workers; the nearest that is: "
        "60 or 64"
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("abc", "a whole number or auto"), ("-3", "at least 1"), ("2.5", "a whole number")],
)
def test_a_number_or_a_word(value: str, expected: str) -> None:
    text = (
        "name: a\ntasks:\n  m:\n    kind: train\n    model: {name: mlp}\n    data: {name: digits}\n"
        f"    max_epochs: 1\n    per_device_batch_size: {value}\n"
    )
    with pytest.raises(SpecError) as caught:
        load(text.encode(), file="job.yaml", environment={})
    (fault,) = caught.value.faults
    assert (fault.line, fault.column) == (8, 28)
    assert f"expected {expected}" in fault.message


@pytest.mark.parametrize(
    "more", ["gradient_accumulation_steps: 2", "parallelism: {pp: 2}"], ids=["steps", "stages"]
)
def test_auto_finds_the_batch_alone(more: str) -> None:
    text = (
        "name: a\ntasks:\n  m:\n    kind: train\n    model: {name: mlp}\n    data: {name: digits}\n"
        f"    max_epochs: 1\n    per_device_batch_size: auto\n    {more}\n"
        "    resources: {num_workers: 2}\n"
    )
    with pytest.raises(SpecError, match="per_device_batch_size auto"):
        load(text.encode(), file="job.yaml", environment={})
