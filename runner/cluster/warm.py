"""The local cluster that stays up between commands: ``runner up`` and ``runner down``."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from runner.cluster import machine, reaper
from runner.cluster.address import (
    WarmCluster,
    noted_cluster,
    process_started,
    state_file,
    warm_cluster,
)
from runner.cluster.connection import EMBEDDED_ENVIRONMENT, PRELOADED, ray_folder
from runner.errors import ClusterError

START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 15.0


def up(environment: Mapping[str, str]) -> tuple[WarmCluster, bool]:
    """The warm cluster, and whether it was started now. Its workers have torch imported.

    It listens on the loopback interface only and wants a token, which lies in the state file,
    readable for this user alone. Raises ClusterError if it does not start.
    """
    found = warm_cluster(environment)
    if found is not None:
        return found, False
    down(environment)  # what a head that was killed has left behind
    folder = Path(tempfile.mkdtemp(prefix="runner-up-"))
    temporary = folder / "tmp"
    temporary.mkdir()
    port, dashboard, mark = _free_port(), _free_port(), secrets.token_hex(8)
    token = secrets.token_hex(32)
    process = _start_head(folder, port, dashboard, {
        **environment,
        **EMBEDDED_ENVIRONMENT,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_preload_python_modules": ",".join(PRELOADED),
        reaper.VARIABLE: mark,
        "TMPDIR": str(temporary),  # what killed processes leave there goes with the folder
    })  # fmt: skip
    cluster = WarmCluster(
        pid=process.pid,
        started=process_started(process.pid) or 0.0,
        port=port,
        token=token,
        mark=mark,
        folder=str(folder),
        dashboard_port=dashboard,
    )
    log = folder / "head.log"
    deadline = time.monotonic() + START_TIMEOUT_S
    while "Ray runtime started" not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            last = log.read_text().strip().splitlines()[-5:]
            _end(cluster)
            raise ClusterError(
                "the local cluster did not start:\n" + "\n".join(f"  {line}" for line in last)
            )
        time.sleep(0.1)
    _note(cluster, state_file(environment))
    return cluster, True


def down(environment: Mapping[str, str]) -> WarmCluster | None:
    """End the warm cluster and all that belongs to it; which one it was, or None if none was up.

    Of one whose head was killed, what is left is ended.
    """
    noted, found = noted_cluster(environment), warm_cluster(environment)
    if noted is not None:
        _end(noted)
    state_file(environment).unlink(missing_ok=True)
    return found


def _start_head(
    folder: Path, port: int, dashboard: int, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block",
        "--node-ip-address=127.0.0.1", f"--port={port}", f"--node-name={socket.gethostname()}",
        "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
        f"--temp-dir={ray_folder(folder)}", f"--num-cpus={machine.cpu_count()}",
        f"--memory={machine.memory_bytes()}", f"--object-store-memory={machine.OBJECT_STORE_BYTES}",
        "--disable-usage-stats",
    ]  # fmt: skip
    with (folder / "head.log").open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=dict(environment),
        )


def _end(cluster: WarmCluster) -> None:
    if process_started(cluster.pid) == cluster.started:  # else the number may be another's by now
        with suppress(ProcessLookupError):
            os.kill(cluster.pid, signal.SIGTERM)
    deadline = time.monotonic() + END_TIMEOUT_S
    while process_started(cluster.pid) == cluster.started and time.monotonic() < deadline:
        time.sleep(0.05)
    reaper.reap(cluster.mark, Path(cluster.folder))
    shutil.rmtree(cluster.folder, ignore_errors=True)


def _note(cluster: WarmCluster, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        json.dump(asdict(cluster), handle)
    temporary.replace(file)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
