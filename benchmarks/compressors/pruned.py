"""Pruning: a convnet with half of its channels, and with zeros.

Trains ``convnet`` once, prunes it in several ways with kind ``prune``, writes all of them as ONNX
files, and sets each beside the model that it was made from: parameters, multiply-adds, bytes,
accuracy, and the CPU time of calls at batch 1 and 64, eager and in ONNX Runtime, in turns.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from compressors.common import BATCHES, DATA, ROUNDS, carry_out, in_turns, told
from runner.kinds.fitting import load_data
from runner.kinds.training import MeasuredDataParams
from runner.serving.loading import open_folder

MODEL = {"name": "convnet"}
ADAM = {"name": "adamw", "learning_rate": 1e-3}
TUNING: Mapping[str, Any] = {
    "optimizer": ADAM,
    "lr_scheduler": {"name": "one-cycle"},
    "augment": {"crop": 2},
}
EPOCHS, TUNING_EPOCHS = 6, 5
# What half of the channels must show (multiply-adds and parameters at most, the rest at least).
MOST, FASTER, POINTS = 0.26, 3.5, 0.5


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


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        return compare(Path(folder))


def compare(folder: Path) -> int:
    import torch

    torch.set_num_threads(1)
    original = carry_out(
        "train", folder / "original", model=MODEL, data=DATA, max_epochs=EPOCHS, **TUNING
    )
    model = str(original.folder)
    tuned = {**TUNING, "max_epochs": TUNING_EPOCHS}
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
    return told(claims)


if __name__ == "__main__":
    sys.exit(main())
