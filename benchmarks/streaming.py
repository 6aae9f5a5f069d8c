"""Data that is streamed beside the same data in memory. Run: python benchmarks/streaming.py

A table of 500,000 rows and 128 features, 256 MB of float32 in 20 Parquet files, and an MLP that
does so little that reading is what takes the time: the worst case. In turns, each by a command and
on a cluster of its own. Medians over rounds; the peak is that of the worker's process.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROWS, FEATURES, FILES, CLASSES = 500_000, 128, 20, 3
BATCH, EPOCHS, HIDDEN = 256, 3, 256
ROUNDS = 3
RUNNER = str(Path(sys.executable).parent / "runner")

JOB = """\
name: streaming
tasks:
  model:
    kind: train
    model: {{name: mlp, args: {{hidden: [{hidden}]}}}}
    data: {{path: {path}, stream: {stream}, test_fraction: 0.02}}
    max_epochs: {epochs}
    global_batch_size: {batch}
    resources: {{cpus: 1}}
"""


def write(folder: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    random = np.random.default_rng(0)
    folder.mkdir()
    for number in range(FILES):
        targets = random.integers(0, CLASSES, ROWS // FILES)
        values = random.normal(size=(len(targets), FEATURES)).astype(np.float32)
        columns = {f"f{index}": values[:, index] for index in range(FEATURES)}
        parquet.write_table(
            pa.table({**columns, "label": targets}),
            folder / f"{number:02}.parquet",
            row_group_size=5_000,
        )


def by_runner(data: Path, folder: Path, *, is_streamed: bool) -> dict[str, float]:
    folder.mkdir()
    (folder / "job.yaml").write_text(
        JOB.format(
            hidden=HIDDEN,
            path=data,
            stream=str(is_streamed).lower(),
            epochs=EPOCHS,
            batch=BATCH,
        )
    )
    state = {"XDG_STATE_HOME": str(folder)}
    subprocess.run(
        [RUNNER, "submit", "job.yaml"],
        cwd=folder,
        env={**os.environ, **state},
        check=True,
        capture_output=True,
    )
    (report,) = (folder / "runs").glob("*/report.json")
    metrics = json.loads(report.read_text())["tasks"]["model"]["metrics"]
    return {
        "samples_per_s": metrics["train/samples_per_s"],
        "peak_mb": metrics["memory/peak_mb"],
        "first_step_s": metrics["time/first_step_s"],
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        write(data)
        found: dict[str, list[dict[str, Any]]] = {}
        for number in range(ROUNDS):
            for name, is_streamed in (("in memory", False), ("streamed", True)):
                job = Path(folder, f"{name}-{number}")
                measured = by_runner(data, job, is_streamed=is_streamed)
                print(name, measured, file=sys.stderr, flush=True)
                found.setdefault(name, []).append(measured)
    load = os.getloadavg()[0]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {load:.0f}")
    print("| | samples/s | of in memory | peak MB | to the first step, s |")
    print("|---|---:|---:|---:|---:|")
    whole = statistics.median(each["samples_per_s"] for each in found["in memory"])
    for name, each in found.items():
        rate, peak, first = (
            statistics.median(one[key] for one in each)
            for key in ("samples_per_s", "peak_mb", "first_step_s")
        )
        print(f"| {name} | {rate:,.0f} | {rate / whole:.2f}x | {peak:,.0f} | {first:.1f} |")


if __name__ == "__main__":
    main()
