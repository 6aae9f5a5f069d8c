"""Every strategy, and products of two, on CPU ranks: the same training as on one process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cases import Case, Trained, furthest, train
from safetensors.torch import load_file

HERE = Path(__file__).parent
GANG_LIMIT_S = 500

DDP2: dict[str, Any] = {"strategy": "ddp", "dp_replicate": 2}
FSDP2: dict[str, Any] = {"strategy": "fsdp", "dp_shard": 2}

TWO = [
    Case(name="ddp", widths=DDP2),
    Case(name="ddp-accumulated", widths=DDP2, micro=4),
    Case(name="ddp-clipped", widths=DDP2, micro=8, max_grad_norm=0.05),
    Case(name="ddp-gpt", model="gpt", widths=DDP2, batch=8, micro=2, samples=45),
    Case(name="fsdp", widths=FSDP2),
    Case(name="fsdp-accumulated", widths=FSDP2, micro=4),
    Case(name="fsdp-clipped", widths=FSDP2, micro=8, max_grad_norm=0.05),
    Case(name="fsdp-gpt", model="gpt", widths=FSDP2, batch=8, micro=2, samples=45),
    Case(name="fsdp-kept", widths=FSDP2, options={"reshard": False}),
    Case(name="fsdp-offloaded", widths=FSDP2, options={"offload": True}),
    Case(name="tp-vit", model="vit", widths={"tp": 2}, micro=32),
    Case(name="tp-gpt", model="gpt", widths={"tp": 2}, batch=8, micro=4, samples=45),
    Case(name="tp-clipped", model="vit", widths={"tp": 2}, micro=16, max_grad_norm=0.05),
    Case(
        name="tp-own-plan",
        widths={"tp": 2},
        options={"tp_plan": {"1": "column", "3": "row"}},
    ),
    Case(name="gpipe", widths={"pp": 2}, options={"pp_schedule": "gpipe", "microbatches": 4}),
    Case(name="1f1b", widths={"pp": 2}, micro=8, options={"microbatches": 2}),
    Case(name="1f1b-clipped", widths={"pp": 2}, micro=8, max_grad_norm=0.05),
    Case(
        name="interleaved",
        model="vit",
        widths={"pp": 2},
        micro=8,
        options={"pp_schedule": "interleaved-1f1b"},
    ),
    Case(
        name="zero-bubble",
        model="gpt",
        widths={"pp": 2},
        batch=8,
        micro=2,
        samples=45,
        options={"pp_schedule": "zero-bubble"},
    ),
    Case(name="pp-split", widths={"pp": 2}, micro=8, options={"pp_split": ["5"]}),
    Case(
        name="pp-skipping",
        model="skipping",
        widths={"pp": 2},
        micro=8,
        max_grad_norm=0.05,
        options={"microbatches": 2},
    ),
    Case(
        name="pp-skipping-split",
        model="skipping",
        widths={"pp": 2},
        options={"pp_schedule": "gpipe", "pp_split": ["layers.1"]},
    ),
    Case(
        name="zero-bubble-skipping",
        model="skipping",
        widths={"pp": 2},
        micro=8,
        options={"pp_schedule": "zero-bubble"},
        ema=0.9,
    ),
    Case(
        name="interleaved-skipping",
        model="skipping",
        widths={"pp": 2},
        micro=8,
        options={"pp_schedule": "interleaved-1f1b"},
        precision="bf16-mixed",
    ),
    # Its batch norms see what a pass of one process sees: no row fills up a micro-batch.
    Case(name="pp-resnet", model="resnet", widths={"pp": 2}, micro=8, samples=128),
    Case(name="ddp-bf16", widths=DDP2, precision="bf16-mixed"),
    Case(name="fsdp-bf16", widths=FSDP2, precision="bf16-mixed"),
    Case(name="ddp-fp16", widths=DDP2, precision="fp16-mixed"),
    Case(name="fsdp-fp16", widths=FSDP2, precision="fp16-mixed"),
    Case(name="pp-fp16", widths={"pp": 2}, micro=8, precision="fp16-mixed"),
    Case(name="ddp-fp8", widths=DDP2, precision="fp8"),
    Case(name="fsdp-fp8", model="vit", widths=FSDP2, micro=8, precision="fp8"),
    Case(name="tp-fp8", model="vit", widths={"tp": 2}, micro=32, precision="fp8"),
    Case(name="pp-fp8", widths={"pp": 2}, micro=8, precision="fp8", options={"microbatches": 2}),
    Case(
        name="ddp-augmented", widths=DDP2, micro=8, augment={"flip": True, "crop": 1, "cutout": 3}
    ),
    # Without resharding, what was gathered to evaluate the average would be what is trained on.
    Case(name="fsdp-ema", widths=FSDP2, ema=0.9, options={"reshard": False}),
    Case(name="fsdp-recomputed", model="vit", widths=FSDP2, micro=8, recompute=True),
    Case(name="fsdp-muon", widths=FSDP2, optimizer="muon"),
    Case(name="fsdp-adafactor", widths=FSDP2, optimizer="adafactor", learning_rate=1e-2),
    Case(name="tp-ema-recomputed", model="vit", widths={"tp": 2}, ema=0.9, recompute=True),
    # Of each epoch's last window a rank has no samples at all.
    Case(name="ddp-taught", model="vit", widths=DDP2, micro=8, samples=129, taught="layers"),
    Case(name="fsdp-taught", model="vit", widths=FSDP2, micro=8, taught="layers"),
    Case(
        name="fsdp-gpt-taught",
        model="gpt",
        widths=FSDP2,
        batch=8,
        micro=2,
        samples=45,
        ema=0.9,
        taught="layers",
    ),
    Case(name="ddp-answers", widths=DDP2, taught="disk"),
    Case(
        name="pp-answers",
        model="gpt",
        widths={"pp": 2},
        batch=8,
        micro=2,
        samples=45,
        options={"pp_schedule": "gpipe"},
        taught="disk",
    ),
    Case(
        name="pp-all",
        model="vit",
        widths={"pp": 2},
        micro=8,
        ema=0.9,
        stopping={"patience": 5, "metric": "test/loss"},
        augment={"crop": 1},
        recompute=True,
    ),
]

# What it learns at this rate is soon worse again: all ranks stop, with the same weights.
EARLY = {"patience": 1, "metric": "test/loss"}
STOPPING = [
    Case(name="ddp-early", widths=DDP2, stopping=EARLY, optimizer="sgd", learning_rate=0.5),
    Case(name="fsdp-early", widths=FSDP2, stopping=EARLY, optimizer="sgd", learning_rate=0.5),
    Case(name="pp-early", widths={"pp": 2}, micro=8, stopping=EARLY, optimizer="sgd",
         learning_rate=0.5),
]  # fmt: skip

# Each is given up at step 10, goes on from its checkpoint of step 9, and is compared with the one
# that was never stopped.
STOPPED = [
    Case(name="fsdp-resumed", widths=FSDP2, micro=4, checkpoints="fsdp"),
    Case(
        name="fsdp-taught-resumed",
        model="vit",
        widths=FSDP2,
        micro=8,
        taught="layers",
        checkpoints="taught",
    ),
    Case(name="ddp-fp16-resumed", widths=DDP2, precision="fp16-mixed", checkpoints="ddp"),
    Case(name="tp-resumed", model="vit", widths={"tp": 2}, micro=32, checkpoints="tp"),
    Case(name="pp-resumed", widths={"pp": 2}, micro=8, checkpoints="pp"),
    Case(
        name="pp-dropping-resumed",
        model="dropping",
        widths={"pp": 2},
        micro=8,
        checkpoints="dropping",
    ),
    Case(
        name="fsdp-all-resumed",
        widths=FSDP2,
        ema=0.9,
        stopping={"patience": 2, "metric": "test/loss"},
        augment={"flip": True, "cutout": 2},
        checkpoints="fsdp-all",
    ),
    # Its batch norm's statistics are those of the first rank, however few steps follow.
    Case(
        name="ddp-norms-resumed",
        model="convnet",
        widths=DDP2,
        micro=8,
        checkpoints="norms",
        steps=10,
    ),
    Case(
        name="fsdp-norms-resumed",
        model="convnet",
        widths=FSDP2,
        micro=8,
        checkpoints="fnorms",
        steps=10,
    ),
]

FOUR = [
    Case(name="ddp4", widths={"strategy": "ddp", "dp_replicate": 4}, micro=4),
    Case(name="fsdp4", widths={"strategy": "fsdp", "dp_shard": 4}, micro=4),
    Case(name="hsdp", widths={"strategy": "fsdp", "dp_replicate": 2, "dp_shard": 2}, micro=8),
    Case(
        name="hsdp-clipped",
        widths={"strategy": "fsdp", "dp_replicate": 2, "dp_shard": 2},
        micro=4,
        max_grad_norm=0.05,
    ),
    Case(
        name="fsdp-tp",
        model="vit",
        widths={"strategy": "fsdp", "dp_shard": 2, "tp": 2},
        max_grad_norm=0.05,
    ),
    Case(name="tp4", model="vit", widths={"tp": 4}),
    Case(name="pp4", model="vit", widths={"pp": 4}, micro=8),
    Case(name="ddp-pp", widths={**DDP2, "pp": 2}, micro=4, max_grad_norm=0.05),
    Case(name="fsdp-pp", model="vit", widths={**FSDP2, "pp": 2}, micro=4, max_grad_norm=0.05),
    Case(name="fsdp-pp-skipping", model="skipping", widths={**FSDP2, "pp": 2}, micro=4, ema=0.9),
    Case(name="pp-tp", model="vit", widths={"pp": 2, "tp": 2}, micro=8, max_grad_norm=0.05),
]


def run_gang(cases: list[Case], ranks: int, folder: Path) -> dict[str, Any]:
    file = folder / "cases.json"
    file.write_text(json.dumps([asdict(case) for case in cases]))
    logs = [(folder / f"rank-{rank}.txt").open("w+b") for rank in range(ranks)]
    processes = [
        subprocess.Popen(
            [sys.executable, str(HERE / "rank.py"), str(file), str(rank), str(ranks)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(HERE)},
        )
        for rank, log in enumerate(logs)
    ]
    try:
        for process in processes:
            process.wait(GANG_LIMIT_S)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    said = []
    for log in logs:
        log.seek(0)
        said.append(log.read().decode())
        log.close()
    results = folder / "results.json"
    found = json.loads(results.read_text()) if results.is_file() else {}
    return {"results": found, "said": "\n".join(text[-4000:] for text in said), "folder": folder}


@pytest.fixture(scope="session")
def gangs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What came of the cases on two ranks and on four: all of a gang in one go."""

    @cache
    def gang(ranks: int) -> dict[str, Any]:
        cases = [*TWO, *STOPPING, *stopped_and_not()] if ranks == 2 else FOUR
        return run_gang(cases, ranks, tmp_path_factory.mktemp(f"gang{ranks}"))

    return gang


def stopped_and_not() -> list[Case]:
    return [
        each
        for case in STOPPED
        for each in (
            replace(case, name=f"{case.name}-whole", checkpoints=None),
            replace(case, name=f"{case.name}-stopped", stop_at=10),
            case,
        )
    ]


def compare(case: Case, gang: dict[str, Any]) -> tuple[float, float, dict[str, Any], Trained]:
    assert case.name in gang["results"], gang["said"]
    ours = gang["results"][case.name]
    theirs = train(replace(case, widths={}, options={}, name="alone"))
    assert len(ours["losses"]) == len(theirs.losses) == case.steps
    loss = max(abs(a - b) for a, b in zip(ours["losses"], theirs.losses, strict=True))
    assert theirs.state is not None
    weight = furthest(load_file(gang["folder"] / f"{case.name}.safetensors"), theirs.state)
    return loss, weight, ours, theirs


@pytest.mark.parametrize("case", TWO, ids=lambda case: case.name)
def test_two_ranks_train_as_one_process(case: Case, gangs: Any) -> None:
    check(case, gangs(2))


@pytest.mark.parametrize("case", FOUR, ids=lambda case: case.name)
def test_four_ranks_train_as_one_process(case: Case, gangs: Any) -> None:
    check(case, gangs(4))


@pytest.mark.parametrize("case", TWO, ids=lambda case: case.name)
def test_ranks_that_divide_one_way_need_no_group_but_that_of_all(case: Case, gangs: Any) -> None:
    # A group of gloo has threads that wake a hundred times a second, also where it is never used.
    assert gangs(2)["results"][case.name]["groups"] == 0


def check(case: Case, gang: dict[str, Any]) -> None:
    loss, weight, ours, theirs = compare(case, gang)
    exact = case.precision == "fp32"
    assert loss < (1e-5 if exact else 3e-2)
    if exact:
        # Adam's step has the size of the learning rate however small a gradient is, and that of
        # attention's key bias is nothing but rounding.
        assert weight < (1e-4 if case.model == "mlp" else 20 * case.learning_rate)
        assert ours["scores"] == pytest.approx(theirs.scores, abs=1e-5)
    assert ours["other"] == theirs.other
    assert ours["losses"][-1] < ours["losses"][0]


COMPILED = [
    Case(name="fsdp-compiled", model="vit", widths=FSDP2, compile=True, ema=0.9),
    Case(name="fsdp-recompiled", model="vit", widths=FSDP2, compile=True, recompute=True),
    Case(name="ddp-compiled", model="vit", widths=DDP2, micro=8, compile=True),
    Case(name="ddp-compiled-whole", widths=DDP2, compile=True),
    Case(name="tp-compiled", model="vit", widths={"tp": 2}, compile=True),
    Case(name="pp-compiled", model="vit", widths={"pp": 2}, micro=8, compile=True),
]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_ranks_compiled_train_as_one_process_that_is_not(tmp_path: Path) -> None:
    gang = run_gang(COMPILED, 2, tmp_path)
    for case in COMPILED:
        loss, _, ours, theirs = compare(replace(case, compile=False, recompute=False), gang)
        assert loss < 1e-4, case.name
        assert ours["scores"] == pytest.approx(theirs.scores, abs=1e-3), case.name


@pytest.mark.parametrize("case", STOPPING, ids=lambda case: case.name)
def test_all_ranks_stop_early_with_the_best_weights(case: Case, gangs: Any) -> None:
    gang = gangs(2)
    assert case.name in gang["results"], gang["said"]
    ours = gang["results"][case.name]
    theirs = train(replace(case, widths={}, name="alone"))
    assert ours["other"] == theirs.other
    assert len(ours["losses"]) == theirs.other["train/stopped_at_step"] < case.steps
    assert theirs.state is not None
    assert furthest(load_file(gang["folder"] / f"{case.name}.safetensors"), theirs.state) < 1e-4


@pytest.mark.parametrize("case", STOPPED, ids=lambda case: case.name)
def test_a_resumed_gang_ends_with_the_same_bits(case: Case, gangs: Any) -> None:
    gang = gangs(2)
    assert case.name in gang["results"], gang["said"]
    ours, whole = gang["results"][case.name], gang["results"][f"{case.name}-whole"]
    assert ours["other"] == {**whole["other"], "checkpoint/resumed_at_step": 9}
    # From that of step 9 on, which was on its way when the checkpoint was written.
    assert ours["losses"] == whole["losses"][8:]
    assert ours["scores"][-1] == whole["scores"][-1]
    states = [load_file(gang["folder"] / f"{case.name}{end}.safetensors") for end in ("", "-whole")]
    assert furthest(*states) == 0.0


@pytest.mark.parametrize("case", STOPPED[:5:2], ids=lambda case: case.name)
def test_one_process_goes_on_where_two_ranks_stopped(
    case: Case, gangs: Any, tmp_path: Path
) -> None:
    gang = gangs(2)
    assert case.name in gang["results"], gang["said"]
    shutil.copytree(gang["folder"] / str(case.checkpoints), tmp_path / "copy")
    resumed = train(replace(case, widths={}, options={}, checkpoints="copy"), folder=tmp_path)
    whole = gang["results"][f"{case.name}-whole"]
    assert resumed.other["checkpoint/resumed_at_step"] == 18
    assert resumed.losses == pytest.approx(whole["losses"][17:], abs=1e-5)
