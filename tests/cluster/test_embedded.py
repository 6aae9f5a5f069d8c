"""The cluster that a command starts for itself: what it offers, and that nothing of it is left."""

from __future__ import annotations

import json
import os
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.cluster import machine
from runner.cluster.reaper import marked
from tests.cluster.processes import carrying, listening, mark_of, only_loopback
from tests.conftest import Command, wait_for

Write = Callable[..., str]

# The task asks Ray, as the worker that it is, what the cluster offers; and then does not end.
MINE = """\
import json
import threading
from pathlib import Path

import ray


def make(folder):
    nodes = [node for node in ray.nodes() if node["Alive"]]
    temporary = Path(folder, "nodes.part")
    temporary.write_text(json.dumps(nodes))
    temporary.rename(Path(folder, "nodes.json"))
    threading.Event().wait()
"""
SPEC = """\
name: embedded
tasks:
  task:
    kind: train
    model: {factory: "mine:make", args: {folder: FOLDER}}
    data: {name: digits}
    max_steps: 3
"""


@pytest.fixture
def temporary() -> Iterator[Path]:
    """The folder that the command takes for temporary files; Ray's sockets need a short path."""
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        yield Path(folder)


@pytest.fixture
def alone(command: Command, temporary: Path) -> Command:
    """The command with a home of its own and a temporary folder that it must leave empty."""
    home = command.folder / "home"
    home.mkdir()
    command.environment = {**command.environment, "HOME": str(home), "TMPDIR": str(temporary)}
    return command


def worker_pid(command: Command) -> int | None:
    running = [r for r in command.records() if r["event"] == "attempt_running"]
    return int(running[0]["data"]["pid"]) if running else None


def test_an_embedded_cluster_offers_what_was_planned_and_keeps_to_itself(
    alone: Command, temporary: Path, spec: Write
) -> None:
    (alone.folder / "mine.py").write_text(MINE)
    file = spec(SPEC.replace("FOLDER", str(alone.folder)))
    seen = json.loads(alone("nodes", "--json").out)["nodes"]
    with alone.start("submit", file) as process:
        mark = mark_of(wait_for(lambda: worker_pid(alone)))
        told = alone.folder / "nodes.json"
        wait_for(told.exists)
        addresses = listening(marked(mark))
        kept = [stat.S_IMODE(path.stat().st_mode) for path in temporary.iterdir()]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err

    # What 'nodes' and 'plan' saw, with no cluster up, is what Ray then had.
    (node,) = json.loads(told.read_text())
    (planned,) = seen
    resources: dict[str, Any] = node["Resources"]
    assert node["NodeName"] == planned["name"]
    assert resources["CPU"] == planned["cpus"] == machine.cpu_count()
    assert resources["memory"] == planned["memory_bytes"]
    assert resources.get("GPU", 0) == sum(d["count"] for d in planned["accelerators"])

    assert addresses  # Ray does listen
    assert only_loopback(addresses), addresses
    # A token in the home directory would switch authentication on for the user's other clusters.
    assert not list((alone.folder / "home").rglob("auth_token"))
    assert set(kept) == {0o700}  # Ray opens what it makes to everybody
    assert carrying("TMPDIR", str(temporary)) == []
    assert list(temporary.iterdir()) == []


def test_a_worker_carries_no_token_of_the_cluster_to_its_log(
    alone: Command, temporary: Path, spec: Write
) -> None:
    (alone.folder / "mine.py").write_text(
        "import os\n\n\ndef make(folder):\n    open(folder + '/token', 'w').write("
        "os.environ['RAY_AUTH_TOKEN'])\n    raise ValueError('enough')\n"
    )
    done = alone("submit", spec(SPEC.replace("FOLDER", str(alone.folder))))
    assert done.code == 1
    token = (alone.folder / "token").read_text()
    assert len(token) >= 32
    files = [path for path in (alone.folder / "runs").rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if token.encode() in path.read_bytes()]
    assert token not in done.out + done.err
    assert list(temporary.iterdir()) == []
    assert "RAY_AUTH_TOKEN" not in os.environ
