"""The local cluster that stays up between commands: ``runner up`` and ``runner down``."""

from __future__ import annotations

import fcntl
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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Up:
    """The warm cluster, and what ``up`` had to start of it: all, its driver alone, or nothing."""

    cluster: WarmCluster
    started: Literal["cluster", "driver", "nothing"]


class Driver(Protocol):
    """The cluster's resident driver, which is not of this package."""

    def listens(self, cluster: WarmCluster) -> bool:
        """Whether it answers."""

    def start(self, environment: Mapping[str, str], cluster: WarmCluster) -> None:
        """Start it, and wait until it answers. Raises ClusterError if it does not."""


def up(environment: Mapping[str, str], driver: Driver) -> Up:
    """The warm cluster, started as far as it is not up. Its workers have torch imported.

    It listens on the loopback interface only and wants a token, which lies in the state file,
    readable for this user alone. Where another ``up`` is at work, its end is waited for. Raises
    ClusterError if it does not start; nothing of it is left then, nor after an interrupt.
    """
    with _alone(state_file(environment)):
        found = warm_cluster(environment)
        if found is not None and driver.listens(found):
            return Up(cluster=found, started="nothing")
        if found is not None:
            driver.start(environment, found)
            return Up(cluster=found, started="driver")
        _down(environment)  # what a head that was killed has left behind
        return Up(cluster=_start(environment, driver), started="cluster")


def down(environment: Mapping[str, str]) -> WarmCluster | None:
    """End the warm cluster and all that belongs to it; which one it was, or None if none was up.

    Of one whose head was killed, what is left is ended. Where an ``up`` is at work, its end is
    waited for.
    """
    file = state_file(environment)
    if not file.parent.is_dir():
        return None
    with _alone(file):
        return _down(environment)


def _start(environment: Mapping[str, str], driver: Driver) -> WarmCluster:
    folder = Path(tempfile.mkdtemp(prefix="runner-up-"))
    mark, token = secrets.token_hex(8), secrets.token_hex(32)
    port, dashboard = _free_port(), _free_port()
    watch = reaper.Watch(mark, folder)
    try:
        process = _start_head(folder, port, dashboard, {
            **environment,
            **EMBEDDED_ENVIRONMENT,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": token,
            "RAY_preload_python_modules": ",".join(PRELOADED),
            reaper.VARIABLE: mark,
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
        _wait(process, folder / "head.log")
        driver.start(environment, cluster)
        _note(cluster, state_file(environment))  # from here on other commands use it
        watch.let_live()
        return cluster
    finally:
        watch.end()


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while "Ray runtime started" not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            last = log.read_text().strip().splitlines()[-5:]
            raise ClusterError(
                "the local cluster did not start:\n" + "\n".join(f"  {line}" for line in last)
            )
        time.sleep(0.1)


def _down(environment: Mapping[str, str]) -> WarmCluster | None:
    noted, found = noted_cluster(environment), warm_cluster(environment)
    if noted is not None:
        _end(noted)
    state_file(environment).unlink(missing_ok=True)
    return found


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """While no other ``up`` or ``down`` is at work, for which it waits.

    Raises ClusterError if the folder of ``file`` can't be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.with_suffix(".lock").open("ab")
    except OSError as error:
        raise ClusterError(
            f"{file.parent} can't be written: {error.strerror}",
            hint="the local cluster is noted there; XDG_STATE_HOME names another place",
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed, by death too
        yield


def _start_head(
    folder: Path, port: int, dashboard: int, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    temporary = folder / "tmp"
    temporary.mkdir()
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
            # What killed processes leave in it goes with the folder.
            env={**environment, "TMPDIR": str(temporary)},
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
