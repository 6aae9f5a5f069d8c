"""A task that waits for a node: an imitation autoscaler starts one of the type that was planned.

python -m pytest -m slow tests/cluster/test_autoscaling.py
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.cluster import reaper
from tests.conftest import Command, environment

pytestmark = pytest.mark.slow

HEAD_ID = "f" * 51 + "00000"
JOB = """\
name: scale
tasks:
  one:
    kind: train
    model: {name: mlp}
    data: {name: digits}
    max_steps: 5
    resources: {cpus: 2, accelerators: [L4:1]}
"""


def launcher_file(port: int) -> dict[str, Any]:
    types = {
        "ray.head.default": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
        "gpu-l4": {
            "resources": {"CPU": 2, "GPU": 1},
            "labels": {"ray.io/accelerator-type": "L4"},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 1,
        },
    }
    lists = (
        "cluster_synced_files rsync_exclude rsync_filter initialization_commands setup_commands "
        "head_setup_commands worker_setup_commands head_start_ray_commands "
        "worker_start_ray_commands"
    )
    provider = {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "gcs_address": f"127.0.0.1:{port}",
        "head_node_id": HEAD_ID,
        "launch_multiple": True,
    }
    return {
        "cluster_name": "imitation",
        "max_workers": 1,
        "idle_timeout_minutes": 1,
        "upscaling_speed": 20,
        "provider": provider,
        "available_node_types": types,
        "head_node_type": "ray.head.default",
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "auth": {},
        **{name: [] for name in lists.split()},
    }


@pytest.fixture
def autoscaled(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """The port of a head that starts imitation nodes, and its launcher file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = tmp_path / "cluster.json"
    file.write_text(json.dumps(launcher_file(port)))
    mark = secrets.token_hex(8)
    folder = Path(tempfile.mkdtemp(prefix="scaled-"))  # short: sockets lie in it
    head = subprocess.Popen(
        [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block",
            "--num-cpus=1", f"--port={port}", "--node-ip-address=127.0.0.1",
            "--include-dashboard=false", f"--temp-dir={folder}",
            f"--autoscaling-config={file}",
        ],
        env={
            **os.environ,
            "RAY_AUTH_MODE": "disabled",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
            "RAY_FAKE_CLUSTER": "1",
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            reaper.VARIABLE: mark,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    assert head.stdout is not None
    try:
        said = []
        for line in head.stdout:
            said.append(line)
            if b"Ray runtime started" in line:
                break
        else:
            pytest.fail(f"the head did not start: {b''.join(said).decode()}")
        yield port, str(file)
    finally:
        head.send_signal(signal.SIGTERM)
        head.wait(timeout=30)
        head.stdout.close()
        reaper.reap(mark, folder)


def test_a_node_of_the_planned_type_is_started_for_a_task(
    autoscaled: tuple[int, str], tmp_path: Path, spec: Callable[[str], str]
) -> None:
    port, file = autoscaled
    command = Command(environment(tmp_path / "state", RAY_AUTH_MODE="disabled"), tmp_path)
    address = ("--address", f"127.0.0.1:{port}")
    without = command("submit", spec(JOB), *address)
    assert without.code == 3, without.err
    done = command("submit", spec(JOB), *address, "--cluster", file)
    events = {record["event"]: record["data"] for record in command.records()}
    assert events["attempt_started"]["placement"]["nodes"] == ["gpu-l4"]
    assert "none that is up could hold it" in events["waiting"]["reason"]
    # The node came and the worker ran on it; an imitation GPU can't compute, and it says so.
    assert events["attempt_running"]["node_id"]
    assert done.code == 1
    assert "PyTorch" in done.out
    assert "Traceback" not in done.out + done.err
