"""runner up and runner down: the local cluster that stays, and that nothing of it does after."""

from __future__ import annotations

import json
import os
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.cluster.address import WarmCluster, process_started, state_file
from runner.cluster.reaper import marked
from runner.runs.resident import listens
from tests.cluster.processes import carrying, listening, only_loopback
from tests.conftest import Command, environment, wait_for


@pytest.fixture
def temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        yield Path(folder)


@pytest.fixture
def alone(tmp_path: Path, temporary: Path) -> Iterator[Command]:
    """The command where no cluster is up; whatever the test leaves up is ended."""
    home = tmp_path / "home"
    home.mkdir()
    about = {"HOME": str(home), "TMPDIR": str(temporary)}
    try:
        yield Command(environment(tmp_path / "state", **about), tmp_path)
    finally:
        for pid in carrying("TMPDIR", str(temporary)):
            os.kill(pid, signal.SIGKILL)


def noted(command: Command) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(state_file(command.environment).read_text())
    return data


def test_up_is_up_once_and_down_leaves_nothing(alone: Command, temporary: Path) -> None:
    first = alone("up")
    assert first.code == 0, first.err
    state = noted(alone)
    assert f"is up at 127.0.0.1:{state['port']}" in first.out
    file = state_file(alone.environment)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert state["token"] not in first.out + first.err
    assert stat.S_IMODE(Path(state["folder"]).stat().st_mode) == 0o700

    again = alone("up")
    assert again.code == 0
    assert "was up already" in again.out
    assert noted(alone) == state
    shown = alone("nodes").out
    assert f"127.0.0.1:{state['port']} (from runner up)" in shown

    pids = marked(state["mark"])
    assert state["pid"] in pids
    addresses = listening(pids)
    assert addresses
    assert only_loopback(addresses), addresses

    down = alone("down")
    assert (down.code, down.err) == (0, "")
    assert f"127.0.0.1:{state['port']}" in down.out
    assert carrying("TMPDIR", str(temporary)) == []
    assert list(temporary.iterdir()) == []
    assert not file.exists()
    assert not list((alone.folder / "home").rglob("auth_token"))

    twice = alone("down")
    assert (twice.code, twice.out, twice.err) == (0, "no cluster is up\n", "")


def test_of_two_at_once_one_waits_and_a_driver_that_died_is_started_anew(
    alone: Command, temporary: Path
) -> None:
    with alone.start("up") as one, alone.start("up") as other:
        told = sorted([one.communicate(timeout=120)[0], other.communicate(timeout=120)[0]])
    assert (one.returncode, other.returncode) == (0, 0)
    assert [text.partition(" at 127")[0] for text in told] == [
        "a local cluster is up",
        "a local cluster was up already",
    ]
    state = noted(alone)
    (driver,) = (
        pid
        for pid in marked(state["mark"])
        if b"runner.runs.resident" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(driver, signal.SIGKILL)
    again = alone("up")
    assert (again.code, again.err) == (0, "")
    assert "was up already, its driver, which had ended, was started anew" in again.out
    assert noted(alone) == state
    assert listens(WarmCluster(**state))
    assert alone("down").code == 0
    assert carrying("TMPDIR", str(temporary)) == []
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_start_that_is_broken_off_leaves_nothing(
    alone: Command, temporary: Path, number: int
) -> None:
    with alone.start("up") as process:
        # Ray's own folder is there: its processes are being started.
        wait_for(lambda: list(temporary.glob("runner-up-*/ray/session_*/logs/gcs_server.out")))
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert "Traceback" not in err
    wait_for(lambda: not carrying("TMPDIR", str(temporary)), timeout_s=10)
    wait_for(lambda: not list(temporary.iterdir()), timeout_s=10)
    assert not state_file(alone.environment).exists()
    assert alone("down").out == "no cluster is up\n"


def test_where_the_state_cannot_be_kept_nothing_is_started(alone: Command, temporary: Path) -> None:
    (alone.folder / "file").write_text("in the way")
    alone.environment = {**alone.environment, "XDG_STATE_HOME": str(alone.folder / "file")}
    up = alone("up")
    assert (up.code, up.out) == (4, "")
    assert "Traceback" not in up.err
    assert f"{alone.folder / 'file' / 'runner'} can't be written: " in up.err
    assert "XDG_STATE_HOME" in up.err
    assert list(temporary.iterdir()) == []
    assert alone("down").out == "no cluster is up\n"
    assert "embedded" in alone("nodes").out


def test_a_cluster_whose_head_was_killed_is_not_up_and_down_ends_the_rest(
    alone: Command, temporary: Path
) -> None:
    assert alone("up").code == 0
    state = noted(alone)
    assert process_started(state["pid"]) == state["started"]
    os.kill(state["pid"], signal.SIGKILL)
    assert "embedded" in alone("nodes").out
    down = alone("down")
    assert down.code == 0, down.err
    assert not state_file(alone.environment).exists()
    assert carrying("TMPDIR", str(temporary)) == []
    assert list(temporary.iterdir()) == []


def test_a_state_file_that_is_stale_is_none(alone: Command) -> None:
    file = state_file(alone.environment)
    file.parent.mkdir(parents=True)
    stale = {"pid": 2**22 + 1, "started": 1.0, "port": 1, "token": "t", "mark": "none",
             "folder": str(alone.folder / "nowhere"), "dashboard_port": 2}  # fmt: skip
    file.write_text(json.dumps(stale))
    assert "embedded" in alone("nodes").out
    assert alone("down").out == "no cluster is up\n"
    assert not file.exists()
