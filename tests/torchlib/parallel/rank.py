"""One rank of a gang that goes through training cases: python rank.py CASES.json RANK WORLD_SIZE.

Rank 0 writes what came of each case to RESULTS.json beside the cases: the losses of every step, the
scores and the final weights' file; or the error that ended it, and with it all later cases.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from cases import Case, train
from safetensors.torch import save_file

from runner.torchlib.parallel.world import joined


def main(file: Path, rank: int, world_size: int) -> None:
    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    folder = file.parent
    with joined(
        folder=folder,
        host="127.0.0.1",
        rank=rank,
        world_size=world_size,
        device="cpu",
        timeout_s=60,
    ):
        for fields in json.loads(file.read_text()):
            case = Case(**fields)
            trained = train(case, rank=rank, folder=folder)
            if trained.state is not None:
                save_file(trained.state, folder / f"{case.name}.safetensors")
            results[case.name] = {"losses": trained.losses, "scores": trained.scores,
                                  "other": trained.other, "groups": trained.groups}  # fmt: skip
            if rank == 0:
                (folder / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
