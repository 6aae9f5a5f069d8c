"""One rank of a gang that goes through CASES: -m tests.tflib.keras_rank FOLDER RANK WORLD_SIZE.

Every rank writes what came of each case to FOLDER/CASE-RANK.npz.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from runner.tflib.gang import Gang
from runner.tflib.installed import prepare
from runner.tflib.strategy import Decision, running

# Of the issue: 20 steps. 1,437 samples make 14 batches of 100 and one of 37.
LONG: dict[str, Any] = {"batch": 100, "total_steps": 20, "seed": 5}
ADAMW = {"optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.01}
CONVNET = {"name": "convnet", "args": {"channels": [4], "pool_every": 1, "hidden": 0}}
CASES: dict[str, dict[str, Any]] = {
    "whole": {"args": {"hidden": [32]}, **ADAMW, **LONG},
    "in passes": {"args": {"hidden": [32]}, "passes": 3, **ADAMW, **LONG},
    "clipped": {
        "args": {"hidden": [32]}, "passes": 2, "learning_rate": 0.1, "max_grad_norm": 0.5,
        "l2": 0.01, **LONG,
    },
    "batch norm": {**CONVNET, **LONG},
    "filled up": {"args": {"hidden": [32]}, "passes": 2, **ADAMW, **LONG, "batch": 51},
}  # fmt: skip
# Dropout, too, which one device draws otherwise: compared with the gang itself.
RESUMED: dict[str, Any] = {
    "args": {"hidden": [16], "dropout": 0.4}, "batch": 100, "total_steps": 14, "schedule": "cosine",
    **ADAMW,
}  # fmt: skip


def main(folder: Path, rank: int, world_size: int) -> None:
    prepare(threads=1)
    gang = Gang(rank=rank, world_size=world_size, folder=folder, host="127.0.0.1", timeout_s=60)
    decision = Decision(strategy="multi_worker", replicas=world_size, reason="")
    with running(decision, gang=gang) as strategy:
        from tests.tflib import kit

        data = kit.digits()

        def train(case: str, **about: Any) -> None:
            trained = kit.train(data, replicas=world_size, joined=strategy, rank=rank, **about)
            ((_, at),) = trained.series("checkpoint/resumed_at_step") or [(None, 0.0)]
            np.savez(
                folder / f"{case}-{rank}.npz",
                losses=trained.losses,
                weights=trained.weights,
                scores=[value for _, value in trained.series("test/loss")],
                resumed_at=at,
            )

        for case, about in CASES.items():
            train(case, **about)
        train("never stopped", **RESUMED)
        train("stopped", checkpoints=folder / "kept", stop_after=11, **RESUMED)
        train("resumed", checkpoints=folder / "kept", **RESUMED)
        if rank == 0:
            (folder / "ended-0").touch()
    if rank > 0:
        (folder / f"ended-{rank}").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
