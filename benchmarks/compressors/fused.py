"""Fusion: what each compiler makes of a convnet and a vision transformer, beside plain exports.

Trains both for one epoch, writes them with kind ``export`` and fuses them with kind ``fuse``, and
times all files of a model in turns, each in a process of its own: ratios to the eager model at
batch 1 and 64. What is fused is named, and every file gives the model's outputs for all held-out
images up to rounding, or the comparison ends with an error. Needs a C++ compiler.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressors.common import DATA, carry_out
from runner.data import load
from runner.serving.measuring import Agreement, measure

MODELS: Mapping[str, Mapping[str, Any]] = {
    "convnet": {"name": "convnet"},
    "vit": {"name": "vit", "args": {"patch": 7, "dim": 256, "depth": 4, "heads": 4}},
}
COMPILERS = ("onnxruntime", "openvino", "aotinductor")
FORMATS = ("torch-export", "onnx", "openvino")


def main() -> None:
    """Prints a table for each model."""
    data = load(**DATA)
    with tempfile.TemporaryDirectory() as scratch:
        for name, model in MODELS.items():
            place = Path(scratch) / name
            carry_out("train", place, model=dict(model), data=DATA, max_epochs=1)
            source = place / "model"
            files = {"eager": source}
            carry_out("export", place, model=str(source), data=DATA, formats=list(FORMATS))
            files |= {f"export {each}": place / each for each in FORMATS}
            print(f"\n## {name}\n")
            for compiler in COMPILERS:
                made = place / compiler
                fused = carry_out("fuse", made, model=str(source), data=DATA, compiler=compiler)
                files[f"fuse {compiler}"] = fused.folder
                for fact in ("fused in the graph", f"fused by {compiler}"):
                    print(f"{fact}: {fused.facts[fact]}")
            measured = dict(zip(files, measure(list(files.values()), data, threads=1), strict=True))
            eager = measured["eager"]
            print("\n| | batch 1 | batch 64 | MB | largest difference |\n|---|---|---|---|---|")
            for label, each in measured.items():
                alone = eager.speed.latency_p50_ms / each.speed.latency_p50_ms
                together = each.speed.samples_per_s / eager.speed.samples_per_s
                apart = Agreement.of(each.outputs, eager.outputs).largest_difference
                print(
                    f"| {label} | {alone:.2f}x | {together:.2f}x | {each.size_bytes / 1e6:.2f} "
                    f"| {apart:.1e} |"
                )


if __name__ == "__main__":
    main()
