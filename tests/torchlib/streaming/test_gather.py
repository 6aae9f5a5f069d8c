"""What ranks tell each other about streamed data, in real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

RANK = """
import sys
from pathlib import Path

import numpy as np

from runner.torchlib.parallel.world import joined
from runner.torchlib.streaming import gather

folder, rank, sizes = Path(sys.argv[1]), int(sys.argv[2]), [int(size) for size in sys.argv[3:]]
gather._MOVED_BYTES = 3 * 8  # some rows at a time
with joined(
    folder=folder, host="127.0.0.1", rank=rank, world_size=len(sizes), device="cpu", timeout_s=60
):
    start = sum(sizes[:rank])
    mine = np.arange(start, start + sizes[rank], dtype=np.float32)[:, None] * [1, -1]
    rows = np.full((sum(sizes), 2), np.nan, dtype=np.float32)
    rows[: len(mine)] = mine
    gather.exchange(rows, len(mine))
    both = gather.joined(mine.astype(np.float32))
np.savez(folder / f"{rank}.npz", rows=rows, joined=both)
"""


@pytest.mark.parametrize("sizes", [(5, 17, 4), (0, 11, 0), (20, 1, 7)])
def test_every_rank_has_the_rows_of_all_in_order(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(tmp_path), str(rank), *map(str, sizes)],
            stderr=subprocess.PIPE,
        )
        for rank in range(len(sizes))
    ]
    try:
        for process in ranks:
            _, error = process.communicate(timeout=100)
            assert process.returncode == 0, error.decode()
    finally:
        for process in ranks:
            process.kill()
    expected = np.arange(sum(sizes), dtype=np.float32)[:, None] * [1, -1]
    for rank in range(len(sizes)):
        with np.load(tmp_path / f"{rank}.npz") as found:
            assert np.array_equal(found["rows"], expected)
            assert np.array_equal(found["joined"], expected)
