"""The words in which a plan says how workers divide a training, and why so."""

from __future__ import annotations

from typing import Any

import pytest
from placing import PARAMS, inventory, job, node, task

from runner.model import Node, PlannedTask
from runner.plan import place
from runner.plan.parallelism import stages_in_words

# 12 blocks of width 768 and as many heads: 85 million parameters.
LARGE = {
    "model": {"name": "gpt", "args": {"dim": 768, "depth": 12, "heads": 12, "tied": False}},
    "data": {"name": "stdlib"},
    "max_steps": 1,
}
UNKNOWN = "auto: decided on the workers: ddp if a copy fits into the device's memory, else fsdp"


def planned(params: dict[str, Any], *nodes: Node, devices: str = "cpu", **more: Any) -> PlannedTask:
    asked = task(devices=devices, num_workers=more.pop("num_workers", 4), params=params, **more)
    return place(job(asked), inventory(*nodes)).tasks[0]


def words(params: dict[str, Any], *nodes: Node, **more: Any) -> str:
    return planned(params, *nodes, **more).parallelism


@pytest.mark.parametrize(
    ("params", "devices", "wanted"),
    [
        (PARAMS, "H100", "4 copies (ddp); auto: ddp, as a copy takes 814KB of 80GB"),
        (PARAMS, "cpu", "4 copies (ddp); auto: ddp, as a copy takes 814KB of 8GB"),
        (LARGE, "T4", "4 copies (ddp); auto: ddp, as a copy takes 1.37GB of 16GB"),
        ({**PARAMS, "parallelism": {"strategy": "fsdp"}}, "H100", "shards over 4 workers (fsdp)"),
        (
            {**PARAMS, "parallelism": {"dp_replicate": 2}},
            "cpu",
            "2 copies, each sharded over 2 (hsdp); auto: fsdp, as whole copies don't go with "
            "dp_replicate",
        ),
        (
            {**LARGE, "parallelism": {"tp": 2}},
            "H100",
            "shards over 2 workers (fsdp) x layers over 2 (tensor parallel); auto: fsdp, as whole "
            "copies don't go with tp",
        ),
        (
            {**LARGE, "parallelism": {"tp": 2, "pp": 2, "microbatches": 2}},
            "H100",
            "layers over 2 (tensor parallel) x 2 stages (pipeline parallel)",
        ),
        (
            {**LARGE, "parallelism": {"pp": 2, "microbatches": 2}},
            "H100",
            "2 copies (ddp) x 2 stages (pipeline parallel); auto: ddp, as 1/2 of a copy takes "
            "685MB of 80GB",
        ),
        ({**PARAMS, "model": {"factory": "a:b"}}, "H100", f"4 portions of each batch; {UNKNOWN}"),
        (PARAMS, "Odd-GPU", f"4 portions of each batch; {UNKNOWN}"),
        (
            {**PARAMS, "parallelism": {"pp": 2, "microbatches": 2}, "data": {"path": "x.csv"}},
            "H100",
            f"2 portions of each batch x 2 stages (pipeline parallel); {UNKNOWN}",
        ),
    ],
)  # fmt: skip
def test_how_and_why(params: dict[str, Any], devices: str, wanted: str) -> None:
    nodes = [node("n", f"gpu/{devices}:8" if devices != "cpu" else "", cpus=8, gb=32)]
    asked = "gpu" if devices == "Odd-GPU" else devices
    assert words(params, *nodes, devices=asked) == wanted


def test_a_copy_that_does_not_fit_is_sharded() -> None:
    small = node("small", cpus=8, gb=8)
    assert words(LARGE, small) == (
        "shards over 4 workers (fsdp); auto: fsdp, as a copy takes 1.37GB, more than half of 2GB"
    )
    # With more room for each worker it is not.
    assert "4 copies (ddp)" in words(LARGE, node("large", cpus=8, gb=32))
    assert "4 copies (ddp)" in words(LARGE, *(node(f"n{i}", cpus=1, gb=8) for i in range(4)))
    assert "shards" in words(LARGE, node("n", cpus=8, gb=64), memory_bytes=2 * 10**9)


def test_the_smallest_of_the_devices_decides() -> None:
    huge = {**LARGE, "model": {"name": "gpt", "args": {"dim": 1536, "depth": 24, "heads": 16}}}
    kinds = node("a", "gpu/H100:2"), node("b", "gpu/T4:2")
    assert words(huge, *kinds, devices="gpu").startswith("shards over 4 workers (fsdp)")
    assert words(huge, kinds[0], devices="gpu", num_workers=2).startswith("2 copies (ddp)")
    mixed = node("a", "gpu/H100:2"), node("b", "gpu/Odd-GPU:2")
    assert UNKNOWN in words(huge, *mixed, devices="gpu")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (
            {"microbatches": 2},
            "2 of about as many parameters each; a step in 8 micro-batches of 4 samples, by 1f1b",
        ),
        (
            {"pp_schedule": "gpipe", "pp_split": ["blocks.3"]},
            "2, cut before blocks.3; a step in 4 micro-batches of 8 samples, by gpipe",
        ),
        (
            {"pp_schedule": "interleaved-1f1b", "microbatches": 8,
             "pp_split": ["blocks.1", "blocks.2", "blocks.3"]},
            "4, cut before blocks.1 and blocks.2 and blocks.3; a step in 32 micro-batches of "
            "1 sample, by interleaved-1f1b",
        ),
    ],
)  # fmt: skip
def test_where_a_pipeline_is_cut_and_into_how_many_pieces_a_step(
    given: dict[str, Any], wanted: str
) -> None:
    params = {**LARGE, "global_batch_size": 64, "per_device_batch_size": 8}
    cut = planned({**params, "parallelism": {"pp": 2, **given}}, node("n", cpus=8))
    assert stages_in_words(cut) == wanted
    assert stages_in_words(planned(params, node("n", cpus=8))) == ""


def test_one_worker_divides_nothing() -> None:
    alone = planned(PARAMS, node("n"), num_workers=1)
    assert alone.parallelism == "" and alone.batches is not None
    assert alone.batches.num_workers == 1


def test_batches_are_divided_among_those_that_take_different_samples() -> None:
    params = {**LARGE, "global_batch_size": 64, "per_device_batch_size": 8,
              "parallelism": {"tp": 2, "pp": 2, "microbatches": 2}}  # fmt: skip
    found = planned(params, node("n", cpus=8), num_workers=8).batches
    assert found is not None
    assert (found.global_batch_size, found.per_device_batch_size) == (64, 8)
    assert (found.gradient_accumulation_steps, found.num_workers) == (4, 2)
