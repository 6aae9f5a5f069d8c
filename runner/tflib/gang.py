"""The ranks of a gang as one tf.distribute cluster, each of them a TensorFlow server."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from runner.meeting import hear, is_told, tell
from runner.storage import Place, Remote

RENDEZVOUS, OVER = "rendezvous", "over"


@dataclass(frozen=True, kw_only=True, slots=True)
class Gang:
    """Rank ``rank`` of ``world_size``, as it finds the others.

    Each says in a file in ``folder``, which all of them reach, at which port of ``host`` it
    listens. ``timeout_s`` bounds the meeting and every later collective.
    """

    rank: int
    world_size: int
    folder: Place
    host: str
    timeout_s: float

    def address(self, port: int) -> str:
        """Where this rank is reached that listens at ``port``."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"

    def exchange(self, text: str, *, name: str = RENDEZVOUS) -> list[str]:
        """What all ranks say, in their order, once all of them have said it.

        Each exchange has a name of its own. Raises TaskError if a rank says nothing.
        """
        until_s = time.monotonic() + self.timeout_s
        tell(self.folder / f"{name}-{self.rank}", text)
        return [
            hear(self.folder / f"{name}-{rank}", whose=f"rank {rank}", until_s=until_s)
            for rank in range(self.world_size)
        ]

    def end(self) -> None:
        """Says, of rank 0, that it needs the others no longer."""
        tell(self.folder / OVER, "")

    def is_over(self) -> bool:
        """Whether rank 0 has said so. Asked in vain, it takes its time."""
        if is_told(self.folder / OVER):
            return True
        time.sleep(5.0 if isinstance(self.folder, Remote) else 0.2)
        return False


@contextmanager
def free_port() -> Iterator[int]:
    """A port that nobody else gets for as long as the ``with`` lasts, and a server may listen at.

    TensorFlow has to be told a port, and its address is told to others before it listens. Bound by
    a socket that does not listen and allows its address to be used again, the port is taken for all
    but a server that allows the same, as gRPC's do.
    """
    is_dual = socket.has_dualstack_ipv6()
    with socket.socket(socket.AF_INET6 if is_dual else socket.AF_INET) as held:
        if is_dual:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("", 0))
        yield held.getsockname()[1]


def multi_worker(gang: Gang) -> Any:
    """The strategy of all ranks of ``gang``: a replica in each process, all-reduce over gRPC.

    To be made before any operation of TensorFlow's has run. Raises TaskError if the ranks don't
    meet.
    """
    import tensorflow as tf

    with free_port() as port:
        addresses = gang.exchange(gang.address(port))
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": addresses}),
            task_type="worker",
            task_id=gang.rank,
            rpc_layer="grpc",
        )
        return tf.distribute.MultiWorkerMirroredStrategy(
            resolver,
            communication_options=tf.distribute.experimental.CommunicationOptions(
                timeout_seconds=gang.timeout_s
            ),
        )
