"""The resident driver of the cluster that ``runner up`` keeps: python -m runner.runs.resident

It is connected to Ray and holds workers with their framework imported, so that a run starts in a
fraction of a second. It listens on a socket in the cluster's folder, which only this user can open,
and drives each run that it is asked for in a thread.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from threading import Event

from runner.cluster import reaper
from runner.cluster.address import Address, WarmCluster
from runner.cluster.connection import connected, inventory
from runner.cluster.machine import cpu_count
from runner.cluster.pool import refill
from runner.errors import ClusterError, RunnerError
from runner.runs.request import accepted, broken, ended, refused, request_from_json
from runner.runs.submission import Target, carry_out, open_run

START_TIMEOUT_S = 30.0


def listens(cluster: WarmCluster) -> bool:
    """Whether the cluster's resident driver answers."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(cluster.socket)
        except OSError:
            return False
    return True


def start(environment: Mapping[str, str], cluster: WarmCluster) -> None:
    """Start the resident driver of ``cluster`` and wait until it listens.

    Raises ClusterError if it does not; nothing of it is left then.
    """
    Path(cluster.socket).unlink(missing_ok=True)  # of one that was killed
    log = Path(cluster.folder) / "driver.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "runner.runs.resident"],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env={**environment, reaper.VARIABLE: cluster.mark},
        )
    assert process.stdin is not None
    try:
        with suppress(BrokenPipeError), process.stdin:  # where it died at once, as is told below
            process.stdin.write(json.dumps(asdict(cluster)).encode())
        deadline = time.monotonic() + START_TIMEOUT_S
        while not listens(cluster):
            if process.poll() is not None or time.monotonic() > deadline:
                last = log.read_text().strip().splitlines()[-1:]
                raise ClusterError(
                    f"the driver of the local cluster did not start: {' '.join(last)}"
                )
            time.sleep(0.05)
    except BaseException:
        process.kill()
        process.wait()
        raise


class _Conversation(socketserver.StreamRequestHandler):
    """One request: plan it, answer, drive the run, tell its status."""

    def handle(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        line = self.rfile.readline()
        if not line:
            return  # somebody only asked whether it listens
        try:
            request = request_from_json(line)
            look = partial(inventory, server.source)
            where = Target(inventory=look(), session=nullcontext(), look=look)
            opened = open_run(request, where)
            self._tell(accepted(opened.folder))
            status = carry_out(
                opened,
                where,
                submitted_at_s=request.submitted_at_s,
                environment=request.secrets,
                observe=lambda record: None,
                cancelled=Event(),
            )
            self._tell(ended(status))
        except RunnerError as error:
            self._tell(refused(error))
        except Exception:
            traceback.print_exc()
            self._tell(broken(traceback.format_exc()))
        finally:
            refill(cpu_count())

    def _tell(self, line: bytes) -> None:
        try:
            self.wfile.write(line)
        except BrokenPipeError:
            print("whoever submitted this has gone; the run goes on", flush=True)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    source = ""


def main() -> None:
    """Listen until the cluster that standard input describes is ended."""
    cluster = WarmCluster(**json.load(sys.stdin))
    address = Address(host="127.0.0.1", port=cluster.port, origin="runner up", token=cluster.token)
    with connected(address):
        refill(cpu_count())
        os.umask(0o077)
        with _Server(cluster.socket, _Conversation) as server:
            server.source = f"the cluster at {address} (from {address.origin})"
            server.serve_forever()


if __name__ == "__main__":
    main()
