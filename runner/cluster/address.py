"""Which cluster a command means: the one given, the environment's, the warm local one, or none."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.errors import ClusterError

REACH_TIMEOUT_S = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """A cluster's ``host:port``, how it came to be meant, and the token that opens it, if known.

    ``driver`` is the socket of its resident driver, if it has one.
    """

    host: str
    port: int
    origin: str
    token: str | None = None
    driver: str | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmCluster:
    """The local cluster that ``runner up`` keeps: its head process, address and token."""

    pid: int
    started: float
    port: int
    token: str
    mark: str
    folder: str
    dashboard_port: int

    @property
    def socket(self) -> str:
        """Where its resident driver listens."""
        return str(Path(self.folder) / "driver.sock")


def state_file(environment: Mapping[str, str]) -> Path:
    """Where ``runner up`` notes its cluster: below XDG_STATE_HOME, else ~/.local/state."""
    root = environment.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    return Path(root) / "runner" / "cluster.json"


def process_started(pid: int) -> float | None:
    """When the process began, in clock ticks since boot; None if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else float(fields[19])


def noted_cluster(environment: Mapping[str, str]) -> WarmCluster | None:
    """The cluster that ``runner up`` noted, whether or not it still lives.

    Raises ClusterError if the note can't be read.
    """
    try:
        return WarmCluster(**json.loads(state_file(environment).read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        file = state_file(environment)
        raise ClusterError(
            f"{file} can't be read: {error.strerror}",
            hint="'runner up' notes its cluster there; XDG_STATE_HOME names another place",
        ) from None
    except (ValueError, TypeError) as error:
        file = state_file(environment)
        raise ClusterError(f"{file} can't be read: {error}", hint=f"remove it: rm {file}") from None


def warm_cluster(environment: Mapping[str, str]) -> WarmCluster | None:
    """The cluster that ``runner up`` started, if its head still lives."""
    noted = noted_cluster(environment)
    return noted if noted and process_started(noted.pid) == noted.started else None


def resolve(given: str | None, environment: Mapping[str, str]) -> Address | None:
    """The cluster to use, or None for one that the command starts for itself.

    In order: ``given``, ``RAY_ADDRESS``, the cluster of ``runner up``. ``local`` means none.

    Raises:
        ClusterError: The address has another form than host:port, or nothing listens there.
    """
    text, origin = given, "--address"
    if text is None and environment.get("RAY_ADDRESS"):
        text, origin = environment["RAY_ADDRESS"], "RAY_ADDRESS"
    if text == "local":
        return None
    if text is None or text == "auto":
        warm = warm_cluster(environment)
        if warm is not None:
            return Address(
                host="127.0.0.1",
                port=warm.port,
                origin="runner up",
                token=warm.token,
                driver=warm.socket,
            )
        if text == "auto":
            raise ClusterError(
                f"{origin} is 'auto', but no local cluster is up",
                hint="start one with 'runner up', or leave the address out",
            )
        return None
    host, colon, port = text.rpartition(":")
    if "://" in text or not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ClusterError(
            f"{origin} is '{text}'; expected host:port of the cluster's head",
            hint="the port that 'ray start --head' printed, 6379 unless chosen otherwise",
        )
    reach(host, int(port), origin)
    return Address(host=host, port=int(port), origin=origin)


def reach(host: str, port: int, origin: str) -> None:
    """Raises ClusterError if nothing listens at ``host:port``, within three seconds."""
    try:
        socket.create_connection((host, port), timeout=REACH_TIMEOUT_S).close()
    except OSError as error:
        raise ClusterError(
            f"nothing answers at {host}:{port} (from {origin}): {error.strerror or error}",
            hint="is the cluster up, and can this machine reach it?",
        ) from None


def keeps_to_loopback(address: Address) -> bool:
    """Whether the address is this machine's and the cluster is not to be had from outside it."""
    if address.host not in ("localhost", "127.0.0.1", "::1"):
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only picks the outward interface
        except OSError:
            return True  # there is no other interface
        own = probe.getsockname()[0]
    try:
        socket.create_connection((own, address.port), timeout=REACH_TIMEOUT_S).close()
    except OSError:
        return True
    return False
