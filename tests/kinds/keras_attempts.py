"""Attempts at tasks of Keras in fresh processes, which note the frameworks that they held."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from runner.worker.wire import order_to_json, record_from_json
from tests.worker.orders import order

# The user's own data; it notes at the end which of PyTorch and TensorFlow the process held.
OWN = """\
import atexit, os, sys
import numpy as np

def note():
    with open(os.environ["HELD"] + str(os.getpid()), "w") as file:
        held = [name for name in ("tensorflow", "torch") if sys.modules.get(name)]
        file.write(" ".join(held))

def blobs():
    note()
    atexit.register(note)
    random = np.random.default_rng(0)
    y = np.arange(200) % 3
    x = random.normal(size=(200, 4)).astype("float32")
    x[np.arange(200), y] += 3
    return x[:150], y[:150], x[150:], y[150:]
"""
PARAMS = {
    "model": {"name": "mlp", "args": {"hidden": [8], "dropout": 0.1}},
    "data": {"factory": "own_data:blobs"},
    "max_epochs": 3,
    "global_batch_size": 32,
    "optimizer": {"learning_rate": 0.05},
}


def attempt(folder: Path, kind: str, params: dict[str, Any]) -> list[Any]:
    """The records of one attempt on ``own_data``, which must finish; it lies in ``of-KIND``."""
    (folder / "own_data.py").write_text(OWN)
    what = order(folder / f"of-{kind}", kind, params, workdir=str(folder))
    file = folder / f"{kind}.json"
    file.write_text(order_to_json(what))
    done = subprocess.run(
        [sys.executable, "-m", "runner.worker", str(file)],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HELD": str(folder / f"{kind}-held-")},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    records = [record_from_json(line) for line in done.stdout.splitlines()]
    assert records[-1].data == {"status": "finished", "error": None}, done.stderr
    return records


def held(folder: Path, kind: str) -> list[str]:
    """What each process of an attempt that has read the data held, in words."""
    return [path.read_text() for path in folder.glob(f"{kind}-held-*")]


def facts(records: list[Any]) -> dict[str, str]:
    return {r.data["name"]: r.data["text"] for r in records if r.event == "fact"}


def summary(records: list[Any]) -> dict[str, float]:
    points = [point for r in records if r.event == "metrics" for point in r.data["points"]]
    return {name: value for name, step, value in points if step is None}
