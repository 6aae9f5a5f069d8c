"""Two ranks, a process each, train what one device does; only the first writes checkpoints."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from runner.errors import TaskError
from runner.tflib.gang import Gang, free_port
from tests.tflib.keras_rank import CASES

REPOSITORY = Path(__file__).parents[2]
TOLERANCE = 1e-5  # of the issue
RANKS = 2


@pytest.fixture(scope="module")
def gang(kit: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what two ranks have made of every case."""
    folder = tmp_path_factory.mktemp("gang")
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.tflib.keras_rank", str(folder), str(rank), str(RANKS)],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=(folder / f"log-{rank}").open("wb"),
        )
        for rank in range(RANKS)
    ]
    try:
        codes = [rank.wait(timeout=150) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    assert codes == [0] * RANKS, "\n".join(log.read_text() for log in folder.glob("log-*"))
    return folder


def made(folder: Path, case: str, rank: int = 0) -> Any:
    return np.load(folder / f"{case}-{rank}.npz")


@pytest.mark.parametrize("case", CASES)
def test_losses_and_weights_of_two_ranks_are_those_of_one_device(
    kit: ModuleType, gang: Path, case: str
) -> None:
    alone = kit.train(kit.digits(), **{**CASES[case], "passes": 1})
    shared = made(gang, case)
    assert len(alone.losses) == CASES[case]["total_steps"]
    assert alone.losses[0] - alone.losses[-1] > 0.3  # there is something to compare
    np.testing.assert_allclose(shared["losses"], alone.losses, atol=TOLERANCE, rtol=0)
    np.testing.assert_allclose(shared["weights"], alone.weights, atol=TOLERANCE, rtol=0)
    scores = [value for _, value in alone.series("test/loss")]
    np.testing.assert_allclose(shared["scores"], scores, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("case", [*CASES, "resumed"])
def test_ranks_hold_the_same_bits(gang: Path, case: str) -> None:
    first, second = (made(gang, case, rank) for rank in range(RANKS))
    for name in ("losses", "weights", "scores"):
        np.testing.assert_array_equal(first[name], second[name])


def test_a_gang_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(gang: Path) -> None:
    whole, resumed = made(gang, "never stopped"), made(gang, "resumed")
    assert resumed["resumed_at"] == 9
    np.testing.assert_array_equal(resumed["losses"], whole["losses"][9:])
    np.testing.assert_array_equal(resumed["weights"], whole["weights"])
    names = sorted(path.name for path in (gang / "kept").iterdir())
    assert names == ["step-00000009", "step-00000012"]


def test_a_rank_stays_until_the_first_is_done(gang: Path) -> None:
    ends = [(gang / f"ended-{rank}").stat().st_mtime_ns for rank in range(RANKS)]
    assert ends[0] <= ends[1]
    assert "crashed" not in (gang / "log-0").read_text()


def test_a_port_that_is_held_is_nobody_elses_but_a_servers() -> None:
    with free_port() as port:
        with socket.socket() as other, pytest.raises(OSError):
            other.bind(("127.0.0.1", port))
        with socket.create_server(("127.0.0.1", port)) as server:
            assert server.getsockname()[1] == port


def test_a_rank_that_does_not_come_is_named(tmp_path: Path) -> None:
    gang = Gang(rank=1, world_size=3, folder=tmp_path, host="::1", timeout_s=0.1)
    (tmp_path / "rendezvous-0").write_text("127.0.0.1:1234")
    with pytest.raises(TaskError, match="rank 2 did not say where to meet"):
        gang.exchange(gang.address(4321))
    assert (tmp_path / "rendezvous-1").read_text() == "[::1]:4321"
