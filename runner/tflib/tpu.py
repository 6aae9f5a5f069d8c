"""A TPU in this process: found, connected to, initialised, used, shut down, in that order.

The order is that of tensorflow.org's guide "Use TPUs": ``TPUClusterResolver``, then
``experimental_connect_to_cluster`` (not for the TPU of this very machine, where it would wait for
ever), then ``initialize_tpu_system``, then ``TPUStrategy``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class TpuAddress:
    """Which TPU: ``local`` for that of this TPU VM, ``grpc://...``, or a name in Google Cloud."""

    name: str = "local"
    zone: str | None = None
    project: str | None = None

    def __str__(self) -> str:
        about = [part for part in (self.zone, self.project) if part]
        return f"'{self.name}'" + (f" ({', '.join(about)})" if about else "")


class Edge(Protocol):
    """The calls that need a TPU: TensorFlow's, or in tests a record of what was called."""

    def resolve(self, address: TpuAddress) -> Any:
        """The cluster resolver of the TPU at ``address``."""

    def connect(self, resolver: Any) -> None:
        """Joins the remote machines of the resolver's cluster."""

    def initialise(self, resolver: Any) -> None:
        """Initialises the TPU system, which clears what others have left on it."""

    def strategy(self, resolver: Any) -> Any:
        """A strategy over all of its cores."""

    def cores(self, resolver: Any) -> int:
        """How many cores there are, once it is initialised."""

    def shut_down(self, resolver: Any) -> None:
        """Gives the TPU system back."""


class TensorFlowEdge:
    """``Edge`` by TensorFlow's own functions."""

    def resolve(self, address: TpuAddress) -> Any:
        """See tf.distribute.cluster_resolver.TPUClusterResolver."""
        import tensorflow as tf

        return tf.distribute.cluster_resolver.TPUClusterResolver(
            tpu=address.name, zone=address.zone, project=address.project
        )

    def connect(self, resolver: Any) -> None:
        """See tf.config.experimental_connect_to_cluster."""
        import tensorflow as tf

        tf.config.experimental_connect_to_cluster(resolver)

    def initialise(self, resolver: Any) -> None:
        """See tf.tpu.experimental.initialize_tpu_system."""
        import tensorflow as tf

        tf.tpu.experimental.initialize_tpu_system(resolver)

    def strategy(self, resolver: Any) -> Any:
        """See tf.distribute.TPUStrategy."""
        import tensorflow as tf

        return tf.distribute.TPUStrategy(resolver)

    def cores(self, resolver: Any) -> int:
        """See tf.config.list_logical_devices."""
        import tensorflow as tf

        return len(tf.config.list_logical_devices("TPU"))

    def shut_down(self, resolver: Any) -> None:
        """See tf.tpu.experimental.shutdown_tpu_system."""
        import tensorflow as tf

        tf.tpu.experimental.shutdown_tpu_system(resolver)


class Tpu:
    """The TPU of this process: started once, however often asked for, and stopped once."""

    def __init__(self, address: TpuAddress, edge: Edge) -> None:
        self.address = address
        self._edge = edge
        self._resolver: Any = None
        self._is_initialised = self._is_over = False

    def start(self) -> None:
        """Finds the TPU, connects to it if it is another machine's, and initialises it.

        Raises RuntimeError once it was stopped, and what TensorFlow raises.
        """
        if self._is_over:
            raise RuntimeError(
                "a TPU system is initialised once in a process, and this one is over"
            )
        if self._is_initialised:
            return
        self._resolver = self._edge.resolve(self.address)
        if self.address.name != "local":
            self._edge.connect(self._resolver)
        self._edge.initialise(self._resolver)
        self._is_initialised = True

    def strategy(self) -> Any:
        """A TPUStrategy over all cores; starts the TPU."""
        self.start()
        return self._edge.strategy(self._resolver)

    def cores(self) -> int:
        """How many cores the TPU has; starts it."""
        self.start()
        return self._edge.cores(self._resolver)

    def stop(self) -> None:
        """Shuts the TPU system down, if it was initialised; it can't be started again."""
        was_initialised, self._is_initialised = self._is_initialised, False
        self._is_over = True
        if was_initialised:
            self._edge.shut_down(self._resolver)
