"""A TPU slice of several hosts: on each a server that owns its chips, and one process for all.

TensorFlow drives such a slice from one process. On every host a server of TensorFlow's listens at
port 8470: the service ``tpu-runtime`` of Google's images for slices, or else
``tensorflow.python.tools.grpc_tpu_worker``, which the distribution tensorflow-tpu brings (2.20's
knows v2 to v5, and asks Google's metadata server which slice it is of). The one process loads no
libtpu (TPU_LOAD_LIBRARY=0), as a server has the chips of its host, and connects to all of them by
``TPUClusterResolver("grpc://HOST:8470,grpc://HOST:8470")``.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from runner.errors import TaskError
from runner.meeting import hear, tell
from runner.tflib.gang import Gang
from runner.tflib.installed import installed_build
from runner.tflib.probe import Finding, chips, probe
from runner.tflib.tpu import TpuAddress

PORT = 8470
HOST, FOUND = "tpu-host", "tpu-found"
# A server initialises its chips, and waits for those of the other hosts, before it listens.
LIMIT_S = 120.0
_NUMBER = (
    "http://metadata.google.internal/computeMetadata/v1/instance/attributes/agent-worker-number"
)


class Host(Protocol):
    """What is done on this machine: really, or in tests a record of what was called."""

    def has_chips(self) -> bool:
        """Whether TPU chips show among its devices."""

    def listens(self) -> bool:
        """Whether a server listens at the port."""

    def start(self) -> None:
        """Starts a server, which ends with this process at the latest."""

    def ended(self) -> str | None:
        """How the server that was started has ended; None while it runs."""

    def stop(self) -> None:
        """Ends the server, if one was started."""

    def number(self) -> int | None:
        """Which of the slice's hosts it is, where that can be told."""


class TpuHost:
    """``Host`` of this machine."""

    def __init__(
        self,
        *,
        root: Path = Path("/"),
        port: int = PORT,
        command: Sequence[str] = (sys.executable, "-m", "runner.tflib.server"),
    ) -> None:
        self._root, self._port, self._command = root, port, command
        self._server: subprocess.Popen[bytes] | None = None

    def has_chips(self) -> bool:
        """See ``runner.tflib.probe.chips``."""
        return any(chips(self._root))

    def listens(self) -> bool:
        """Whether a connection to the port is accepted."""
        with socket.socket() as probing:
            probing.settimeout(1.0)
            return probing.connect_ex(("127.0.0.1", self._port)) == 0

    def start(self) -> None:
        """See ``runner.tflib.server``; what it says goes to this process's standard error."""
        self._server = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=sys.stderr,
            env={**os.environ, "TPU_TASK_PORT": str(self._port)},
            start_new_session=True,
        )

    def ended(self) -> str | None:
        """The exit code or the signal, in words."""
        code = None if self._server is None else self._server.poll()
        if code is None:
            return None
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        return f"the TPU's server ended with {how}"

    def stop(self) -> None:
        """By SIGKILL, with all that it has started."""
        if self._server is None:
            return
        if self._server.poll() is None:
            os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait()
        if self._server.stdin is not None:
            self._server.stdin.close()
        self._server = None

    def number(self) -> int | None:
        """TPU_WORKER_ID, or what Google's metadata server says."""
        text = os.environ.get("TPU_WORKER_ID")
        if text is None:
            request = urllib.request.Request(_NUMBER, headers={"Metadata-Flavor": "Google"})
            try:
                with urllib.request.urlopen(request, timeout=2.0) as answer:
                    text = answer.read().decode()
            except OSError:  # this is none of Google's machines
                return None
        return int(text) if text.isdigit() else None


@dataclass(frozen=True, kw_only=True, slots=True)
class TpuSlice:
    """A slice as every rank knows it: what was found by ``address``."""

    address: TpuAddress
    finding: Finding
    gang: Gang
    host: Host

    def attend(self) -> None:
        """Keeps this host's server for the rank that drives all, until that is over.

        Raises TaskError if the server ends before.
        """
        while not self.gang.is_over():
            if (ended := self.host.ended()) is not None:
                raise TaskError(ended, hint="its output is in this rank's log")


@contextmanager
def joined(
    gang: Gang,
    *,
    host: Host | None = None,
    find: Callable[[TpuAddress], Finding] = probe,
    limit_s: float = LIMIT_S,
) -> Iterator[TpuSlice]:
    """A server on each host for as long as its ``with`` lasts, and what rank 0 found by them all.

    Where a host has no chips, or its server does not come up, that is the finding, of all ranks.
    """
    host = host or TpuHost()
    try:
        started = time.monotonic()
        said = _serve(host, limit_s)
        about = {"address": gang.address(PORT), "number": host.number(), "said": said}
        hosts = [json.loads(text) for text in gang.exchange(json.dumps(about), name=HOST)]
        numbers = [each["number"] for each in hosts]
        if None not in numbers:
            hosts.sort(key=lambda each: int(each["number"]))
        address = TpuAddress(name=",".join(f"grpc://{each['address']}" for each in hosts))
        missing = [f"on {each['address']} {each['said']}" for each in hosts if each["said"]]
        if gang.rank == 0:
            found = _none(missing, started) if missing else find(address)
            tell(gang.folder / FOUND, json.dumps(asdict(found)))
        else:
            until_s = time.monotonic() + gang.timeout_s
            text = json.loads(hear(gang.folder / FOUND, whose="rank 0", until_s=until_s))
            found = Finding(**{**text, "looked": tuple(text["looked"])})
        yield TpuSlice(address=address, finding=found, gang=gang, host=host)
    finally:
        if gang.rank == 0:
            gang.end()
        host.stop()


def _serve(host: Host, limit_s: float) -> str | None:
    """Why there is no server on this host; None if there is one."""
    if host.listens():
        return None
    if not host.has_chips():
        return f"there are no chips, and no server at port {PORT}"
    host.start()
    until_s = time.monotonic() + limit_s
    while not host.listens():
        if (ended := host.ended()) is not None:
            return ended
        if time.monotonic() > until_s:
            return f"the TPU's server did not listen at port {PORT} within {limit_s:g} s"
        time.sleep(0.2)
    return None


def _none(missing: Sequence[str], started_s: float) -> Finding:
    return Finding(
        cores=0,
        looked=(
            "/dev/accel* and Google's PCI devices on each host",
            f"TensorFlow's servers at port {PORT}",
        ),
        said="; ".join(missing),
        build=installed_build(),
        seconds=time.monotonic() - started_s,
    )
