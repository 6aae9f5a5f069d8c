"""Pruning: a convnet on 5,000 MNIST images with half of its channels, and with zeros.

    python benchmarks/compression_prune.py

Trains ``convnet`` once, prunes it in several ways with kind ``prune``, writes all of them as ONNX
files, and sets each beside the model that it was made from: parameters, multiply-adds, bytes,
accuracy, and the CPU time of calls at batch 1 and 64, eager and in ONNX Runtime, in turns and on
one thread. Ends with exit code 1 if what is claimed does not hold. Needs the extras ``examples``,
``prune`` and ``edge``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from runner.kinds import find
from runner.kinds.fitting import load_data
from runner.kinds.training import MeasuredDataParams
from runner.model import Context, Fact, Metric
from runner.serving.loading import open_folder

DATA = {"name": "mnist5k"}
MODEL = {"name": "convnet"}
ADAM = {"name": "adamw", "learning_rate": 1e-3}
TUNING: Mapping[str, Any] = {
    "optimizer": ADAM,
    "lr_scheduler": {"name": "one-cycle"},
    "augment": {"crop": 2},
}
BATCHES, ROUNDS, CALLS = (1, 64), 12, {1: 20, 64: 1}
# What half of the channels must show (multiply-adds and parameters at most, the rest at least).
MOST, FASTER, POINTS = 0.26, 3.5, 0.5


@dataclass(frozen=True)
class Made:
    folder: Path
    metrics: Mapping[str, float]
    facts: Mapping[str, str]


def carry_out(kind: str, folder: Path, **params: Any) -> Made:
    """A task of that kind; the model that it made, and what it says of it."""
    found = find(kind)
    context = Context(params=found.params.model_validate(params), folder=folder)
    metrics, facts = {}, {}
    for item in found.run(context):
        if isinstance(item, Metric) and item.step is None:
            metrics[item.name] = item.value
        elif isinstance(item, Fact):
            facts[item.name] = item.text
    return Made(folder / "model", metrics, facts)


def as_onnx(folder: Path) -> Path:
    """The model in ``folder`` as an ONNX file, in a folder beside it."""
    from runner.torchlib.artifact import load
    from runner.torchlib.forms import write_form

    target = folder.with_name("onnx")
    write_form(target, load(folder), format="onnx")
    return target


def cpu_seconds(folders: Mapping[str, Path]) -> dict[tuple[str, int], float]:
    """CPU seconds of a call of each model at each batch: medians over rounds, in turns."""
    inputs = load_data(MeasuredDataParams.model_validate(DATA), 128).test_inputs.numpy()
    calls: dict[tuple[str, int], Callable[[], object]] = {}
    for name, folder in folders.items():
        _, opened = open_folder(folder, threads=1, device="cpu")
        for rows in BATCHES:
            ready = opened.ready(inputs[:rows])
            calls[name, rows] = lambda call=opened.call, ready=ready: call(ready)
    return {
        (name, rows): seconds
        for rows in BATCHES
        for name, seconds in in_turns({name: calls[name, rows] for name in folders}, rows).items()
    }


def in_turns(calls: Mapping[str, Callable[[], object]], rows: int) -> dict[str, float]:
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(ROUNDS + 1):
        for name, call in calls.items():
            started = time.process_time()
            for _ in range(CALLS[rows]):
                call()
            if turn:  # the first warms up
                taken[name].append((time.process_time() - started) / CALLS[rows])
    return {name: statistics.median(times) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=6, help="of the model that is pruned")
    parser.add_argument("--tuning-epochs", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(compare(Path(folder), asked.epochs, asked.tuning_epochs))


def compare(folder: Path, epochs: int, tuning_epochs: int) -> int:
    import torch

    torch.set_num_threads(1)
    original = carry_out(
        "train", folder / "original", model=MODEL, data=DATA, max_epochs=epochs, **TUNING
    )
    model = str(original.folder)
    tuned = {**TUNING, "max_epochs": tuning_epochs}
    ways: dict[str, dict[str, Any]] = {
        "structured 0.5, not tuned": {},
        "structured 0.5": tuned,
        "taylor 0.5": {**tuned, "method": "taylor"},
        "structured 0.3": {**tuned, "sparsity": 0.3},
        "magnitude 0.5, not tuned": {"method": "magnitude"},
        "magnitude 0.9, not tuned": {"method": "magnitude", "sparsity": 0.9},
        "2:4, not tuned": {"method": "2:4", "ignore": ["0"]},
    }
    made = {"original": original}
    for number, (name, params) in enumerate(ways.items()):
        made[name] = carry_out("prune", folder / f"{number}", model=model, data=DATA, **params)
        print(f"{name}: {made[name].facts['pruning kept']}", flush=True)
    files = {f"eager {name}": each.folder for name, each in made.items()}
    files |= {f"onnx {name}": as_onnx(each.folder) for name, each in made.items()}
    seconds = cpu_seconds(files)

    def faster(runtime: str, name: str, rows: int) -> float:
        return seconds[f"{runtime} original", rows] / seconds[f"{runtime} {name}", rows]

    half = made["structured 0.5"].metrics
    print(f"\ntorch {torch.__version__}, 1 thread, CPU time, median of {ROUNDS} rounds in turns\n")
    print(
        "| model | accuracy | parameters | multiply-adds | zeros | MB | gzipped MB "
        "| eager b1, b64 | ONNX Runtime b1, b64 |\n|---|---|---|---|---|---|---|---|---|"
    )
    for name, each in made.items():
        # What was measured of the original, beside each model that was made of it.
        found = each.metrics
        if name == "original":
            found = {key: theirs for key in half if (theirs := half.get(f"baseline/{key}"))}
        part = {
            key: found[key] / half[f"baseline/{key}"]
            for key in ("size/parameters", "size/multiply_adds")
        }

        speeds = " | ".join(
            ", ".join(f"{faster(runtime, name, rows):.2f}x" for rows in BATCHES)
            for runtime in ("eager", "onnx")
        )
        print(
            f"| {name} | {found['test/accuracy']:.1%} | {part['size/parameters']:.3f}x "
            f"| {part['size/multiply_adds']:.3f}x | {found.get('size/zeros', 0.0):,.0f} "
            f"| {found['size/model_mb']:.2f} | {found['size/gzip_mb']:.2f} | {speeds} |"
        )
    claims = {
        f"multiply-adds at most {MOST}x": half["size/multiply_adds"]
        <= MOST * half["baseline/size/multiply_adds"],
        f"parameters at most {MOST}x": half["size/parameters"]
        <= MOST * half["baseline/size/parameters"],
        f"accuracy within {POINTS} points": half["compression/accuracy_drop"]
        <= POINTS / 100 + 1e-9,
        **{
            f"at least {FASTER}x faster in ONNX Runtime at batch {rows}": faster(
                "onnx", "structured 0.5", rows
            )
            >= FASTER
            for rows in BATCHES
        },
    }
    print("\nHalf of the channels (structured 0.5):")
    for claim, holds in claims.items():
        print(f"  {'holds' if holds else 'MISSED'}: {claim}")
    return 0 if all(claims.values()) else 1


if __name__ == "__main__":
    main()
