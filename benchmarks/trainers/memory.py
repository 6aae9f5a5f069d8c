"""The most memory that a worker's process held: python -m trainers.memory

The whole process, from its launch to its end: runner's, with loading the data, keeping the model
and measuring it as reloaded, as a process of its own and as a worker on a cluster; and the best
loop by hand, with what it needs to get the same data and nothing of runner.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runner.model import Order
from trainers.cases import CASES, LEARNING_RATE
from trainers.cluster import up
from trainers.serving import HERE, plain_environment

STEPS = 60


def task(name: str) -> dict[str, Any]:
    """The parameters of kind train."""
    case = CASES[name]
    return {
        "model": {"name": case.model, "args": case.args},
        "data": {"name": case.data, "args": case.data_args},
        "max_steps": STEPS,
        "global_batch_size": case.batch,
        "optimizer": {"name": "adam", "learning_rate": LEARNING_RATE},
    }


def peak_mb(command: list[str], folder: Path, environment: Mapping[str, str]) -> float:
    """The largest resident set of the command's process, in 1e6 bytes."""
    output = folder / "output.txt"
    opening = (os.POSIX_SPAWN_OPEN, 1, str(output), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    process = os.posix_spawn(
        command[0],
        command,
        environment,
        file_actions=[opening, (os.POSIX_SPAWN_DUP2, 1, 2)],
    )
    _, status, usage = os.wait4(process, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)}: {output.read_text()[-3000:]}")
    # A child starts with the peak of its parent, which must not be what is measured.
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert usage.ru_maxrss > own, "this process is larger than the one to measure"
    # Linux counts in KiB, macOS in bytes.
    return usage.ru_maxrss / 1e6 if sys.platform == "darwin" else usage.ru_maxrss * 1024 / 1e6


def by_hand(name: str, folder: Path) -> float:
    script = str(HERE / "by_hand.py")
    return peak_mb([sys.executable, script, name, str(STEPS)], folder, plain_environment())


def by_runner(name: str, folder: Path) -> float:
    order = Order(
        run="memory",
        task="model",
        attempt=1,
        kind="train",
        params=task(name),
        folder=str(folder / name),
        seed=0,
        device="cpu",
        threads=1,
        ready_at_s=time.time(),
    )
    file = folder / "order.json"
    file.write_text(json.dumps(asdict(order)))
    command = [sys.executable, "-m", "runner.worker", str(file)]
    return peak_mb(command, folder, plain_environment())


def main() -> None:
    print("| peak of the process, MB | best by hand | runner | more | worker on a cluster | more |")
    print("|---|---:|---:|---:|---:|---:|")
    with up() as cluster, tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, case in CASES.items():
            hand, ours = by_hand(name, folder), by_runner(name, folder)
            on_cluster = cluster.submit(
                {"kind": "train", **task(name), "resources": {"cpus": 1}}
            ).peak_mb
            cells = [case.title, f"{hand:.0f}", f"{ours:.0f}", f"{ours - hand:+.0f}"]
            cells += [f"{on_cluster:.0f}", f"{on_cluster - hand:+.0f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
