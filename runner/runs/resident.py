"""The resident driver of the cluster that ``runner up`` keeps: python -m runner.runs.resident ...

It is connected to Ray and holds workers with their framework imported, so that a run starts in a
fraction of a second. It listens on a socket in the cluster's folder, which only this user can open,
and drives each run that it is asked for in a thread.
"""

from __future__ import annotations

import os
import socketserver
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from threading import Event

from runner.cluster import reaper
from runner.cluster.address import Address, warm_cluster
from runner.cluster.connection import connected, inventory
from runner.cluster.machine import cpu_count
from runner.cluster.pool import refill
from runner.errors import ClusterError, RunnerError
from runner.runs.request import accepted, broken, ended, refused, request_from_json
from runner.runs.submission import Target, carry_out, open_run

START_TIMEOUT_S = 30.0


def start(environment: Mapping[str, str]) -> None:
    """Start the resident driver of the warm cluster and wait until it listens.

    Raises ClusterError if it does not.
    """
    cluster = warm_cluster(environment)
    if cluster is None:
        raise ClusterError("no local cluster is up")
    log = Path(cluster.folder) / "driver.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "runner.runs.resident"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env={**environment, reaper.VARIABLE: cluster.mark},
        )
    deadline = time.monotonic() + START_TIMEOUT_S
    while not Path(cluster.socket).exists():
        if process.poll() is not None or time.monotonic() > deadline:
            last = log.read_text().strip().splitlines()[-1:]
            raise ClusterError(f"the driver of the local cluster did not start: {' '.join(last)}")
        time.sleep(0.05)


class _Conversation(socketserver.StreamRequestHandler):
    """One request: plan it, answer, drive the run, tell its status."""

    def handle(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        try:
            request = request_from_json(self.rfile.readline())
            where = Target(inventory=inventory(server.source), session=nullcontext())
            try:
                opened = open_run(request.job, where, Path(request.storage), request.secrets)
            except RunnerError as error:
                self.wfile.write(refused(error))
                return
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
    """Listen until the cluster is ended."""
    cluster = warm_cluster(os.environ)
    if cluster is None:
        raise SystemExit("no local cluster is up")
    address = Address(host="127.0.0.1", port=cluster.port, origin="runner up", token=cluster.token)
    with connected(address):
        refill(cpu_count())
        os.umask(0o077)
        with _Server(cluster.socket, _Conversation) as server:
            server.source = f"the cluster at {address} (from {address.origin})"
            server.serve_forever()


if __name__ == "__main__":
    main()
