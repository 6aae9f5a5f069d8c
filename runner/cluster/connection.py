"""A connection to a Ray cluster: to one that is up, or to one embedded in this process."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

from runner.accelerators import accelerators_of, family_of
from runner.cluster import reaper
from runner.cluster.address import Address, keeps_to_loopback
from runner.cluster.machine import OBJECT_STORE_BYTES, tpu_slice
from runner.errors import ClusterError
from runner.model import Inventory, Node

_TYPE_LABEL = "ray.io/accelerator-type"
_TYPE_RESOURCE = "accelerator_type:"
_OWN = ("CPU", "memory", "object_store_memory")

# Set before Ray starts anything: loopback only, no usage reports, and the worker's threads sleep
# rather than spin while they wait, since tasks share the cores.
LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
EMBEDDED_ENVIRONMENT = {
    LOOPBACK_ONLY: "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}
GREETING_TIMEOUT_S = 5.0
PRELOADED = ["runner.worker.preload"]
# How soon a start that is no longer wanted is given up.
LOOK_S = 0.05


def greet(address: Address) -> None:
    """Ask the head for its cluster's id. Raises ClusterError if it is none, or refuses the token.

    ``ray.init`` would try for twenty seconds and more, and print each time.
    """
    import grpc
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    # Made by a generator, without types.
    messages: Any = gcs_service_pb2
    services: Any = gcs_service_pb2_grpc

    token = os.environ.get("RAY_AUTH_TOKEN") if os.environ.get("RAY_AUTH_MODE") == "token" else None
    with grpc.insecure_channel(str(address)) as channel:
        stub = services.NodeInfoGcsServiceStub(channel)
        try:
            stub.GetClusterId(
                messages.GetClusterIdRequest(),
                timeout=GREETING_TIMEOUT_S,
                metadata=[("authorization", f"Bearer {token}")] if token else None,
            )
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                raise ClusterError(
                    f"the cluster at {address} (from {address.origin}) refused the token"
                    if token
                    else f"the cluster at {address} (from {address.origin}) wants a token",
                    hint="set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to the cluster's own",
                ) from None
            raise ClusterError(
                f"what answers at {address} (from {address.origin}) is no head of a Ray cluster "
                f"({error.code().name.lower()})",
                hint="expected the port of 'ray start --head', 6379 unless chosen otherwise; not "
                "the dashboard's or the client's",
            ) from None


@contextmanager
def connected(address: Address) -> Iterator[str]:
    """This process joined to the cluster at ``address``; yields Ray's version there.

    Raises ClusterError where it refuses or speaks another version.
    """
    if address.token is not None:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": address.token}
    if keeps_to_loopback(address):
        # Ray would put the machine's own address in its place, and then try that for minutes.
        os.environ |= {LOOPBACK_ONLY: "0"}
    import ray

    greet(address)
    try:
        with _own_signals():
            ray.init(address=str(address), log_to_driver=False, logging_level=logging.ERROR)
            _keep_off_standard_output()
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"the cluster at {address} (from {address.origin}) refused: {_first_line(error)}",
            hint="if it wants a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN; it must run "
            f"Ray {ray.__version__}, as this machine does",
        ) from None
    try:
        yield ray.__version__
    finally:
        ray.shutdown()


def ray_folder(folder: Path) -> str:
    """Ray's own folder inside ours: Ray opens its to everybody; ours stays this user's alone."""
    inner = folder / "ray"
    inner.mkdir()
    return str(inner)


@dataclass
class Embedding:
    """The surroundings of an embedded cluster: the mark that its processes carry.

    ``given_up`` says that it was still starting when it was no longer wanted.
    """

    mark: str
    given_up: bool = False


@contextmanager
def embedding() -> Iterator[Embedding]:
    """The environment in which an embedded cluster can be started.

    To be entered before ray is first imported, which reads most of these then. A token of its own
    keeps other users of the machine out, and Ray from writing one to the home directory, which
    would switch authentication on for the user's other clusters.
    """
    around = Embedding(secrets.token_hex(8))
    kept = dict(os.environ)
    os.environ |= {**EMBEDDED_ENVIRONMENT, reaper.VARIABLE: around.mark}
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        yield around
    finally:
        if not around.given_up:  # else what is still being started has to carry the mark
            for name in set(os.environ) - set(kept):
                del os.environ[name]
            os.environ |= kept


@contextmanager
def embedded(node: Node, around: Embedding, cancelled: Event) -> Iterator[None]:
    """A cluster of this one machine, ended with the block, or soon after this process is killed.

    ``node`` is the machine as the plan saw it; the cluster offers exactly that. Where ``cancelled``
    is set while Ray starts, the block is entered at once and must not use Ray. The start goes on
    meanwhile in a thread, since nothing can interrupt it, so that the process should then be ended
    with ``os._exit``. Raises ClusterError if Ray does not start.
    """
    import ray

    folder = Path(tempfile.mkdtemp(prefix="runner-"))
    watch = reaper.Watch(around.mark, folder)
    up, over = Event(), Event()
    failures: list[BaseException] = []

    def keep() -> None:
        """From start to end in one thread: Ray's processes end with the one that started them."""
        try:
            _start(node, ray_folder(folder))
        except BaseException as error:
            failures.append(error)
        else:
            up.set()
            over.wait()
            ray.shutdown()
        finally:
            watch.end()

    keeper = Thread(target=keep, daemon=True)
    keeper.start()
    try:
        while keeper.is_alive() and not up.wait(LOOK_S) and not cancelled.is_set():
            continue
        if failures:
            keeper.join()
            raise ClusterError(
                f"an embedded cluster did not start: {_first_line(failures[0])}",
                hint=f"see whether {folder.parent} has room; Ray {ray.__version__} was asked for "
                f"{node.cpus:g} CPUs on the loopback interface",
            ) from failures[0]
        yield
    finally:
        over.set()
        around.given_up = keeper.is_alive() and not up.is_set()
        if not around.given_up:
            keeper.join()


def _start(node: Node, folder: str) -> None:
    import ray

    ray.init(
        address="local",
        num_cpus=int(node.cpus),
        num_gpus=int(sum(d.count for d in node.accelerators if d.family == "gpu")),
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _memory=node.memory_bytes,
        _node_name=node.name,
        _temp_dir=folder,
        _system_config={"preload_python_modules": PRELOADED},
    )
    _keep_off_standard_output()


def _keep_off_standard_output() -> None:
    """Ray's word on workers and nodes that died goes to logging, and not between what we print.

    Whatever it is told, Ray prints that (2.60); the driver finds out by itself and says so.
    """
    import ray._private.worker as printing

    def note(data: dict[str, Any], ignore_prefix: bool) -> None:
        for line in data["lines"]:
            logging.getLogger(__name__).info("%s: %s", data["pid"], line)

    printing.print_to_stdstream = note


@contextmanager
def _own_signals() -> Iterator[None]:
    """What SIGTERM does stays as it was: ray.init puts a handler of its own in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def inventory(source: str) -> Inventory:
    """The live nodes of the connected cluster."""
    import ray

    entries: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = [_node(entry) for entry in entries if entry["Alive"]]
    names = [node.name for node in nodes]
    unique = tuple(
        node
        if names.count(node.name) == 1
        else replace(node, name=f"{node.name}-{(node.id or '')[:6]}")
        for node in sorted(nodes, key=lambda node: (node.name, node.id or ""))
    )
    return Inventory(source=source, nodes=unique)


def _node(entry: dict[str, Any]) -> Node:
    resources: dict[str, float] = entry["Resources"]
    kind = entry["Labels"].get(_TYPE_LABEL) or next(
        (n.removeprefix(_TYPE_RESOURCE) for n in resources if n.startswith(_TYPE_RESOURCE)), None
    )
    return Node(
        name=entry["NodeName"] or entry["NodeManagerHostname"],
        id=entry["NodeID"],
        cpus=resources.get("CPU", 0.0),
        memory_bytes=int(resources.get("memory", 0)),
        accelerators=accelerators_of(resources, kind),
        resources={
            name: amount
            for name, amount in sorted(resources.items())
            if name not in _OWN and not name.startswith("node:") and family_of(name) is None
        },
        tpu_slice=tpu_slice(entry["Labels"]),
    )
