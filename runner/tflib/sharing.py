"""Which replicas get which batches, by way of which process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

Feed = Callable[[], Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """Part ``number`` of ``count`` of the replicas, which follow each other: those whose batches
    one host gathers.
    """

    number: int = 0
    count: int = 1

    def replicas(self, of: int) -> int:
        """How many there are in it, of so many."""
        return of // self.count

    def of(self, rows: Any) -> Any:
        """The part of an array whose second axis has an entry for each replica."""
        each = self.replicas(rows.shape[1])
        return rows[:, self.number * each : (self.number + 1) * each]


def feed(strategy: Any, batches: Callable[[Share], tf.data.Dataset]) -> Feed:
    """To be called in a graph: what each replica of ``strategy`` gets next, for ``strategy.run``.

    ``batches`` gives the elements of a share, for each of its replicas one after another. They come
    again and again.
    """
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return on_devices(strategy, batches)
    return on_host(strategy, batches)


def on_devices(strategy: Any, batches: Callable[[Share], tf.data.Dataset]) -> Feed:
    """``feed`` that brings elements to the devices ahead of their use, from each host its own."""
    distributed = strategy.distribute_datasets_from_function(
        lambda context: batches(
            Share(number=context.input_pipeline_id, count=context.num_input_pipelines)
        ).repeat()
    )
    iterator = iter(distributed)
    return lambda: next(iterator)


def on_host(strategy: Any, batches: Callable[[Share], tf.data.Dataset]) -> Feed:
    """``feed`` for devices that share the memory of their process.

    tf.distribute's own iterators have threads for each device, and one that tunes them: whoever
    lets go of them waits for that, which can take a minute (see ``runner.tflib.feeding``).
    """
    share = share_of(strategy)
    local = share.replicas(strategy.num_replicas_in_sync)
    iterator = iter(batches(share).repeat())

    def following() -> Any:
        each = [next(iterator) for _ in range(local)]
        first = share.number * local
        return strategy.experimental_distribute_values_from_function(
            lambda context: each[context.replica_id_in_sync_group - first]
        )

    return following


def share_of(strategy: Any) -> Share:
    """The replicas of this process."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return Share()
    resolver = strategy.cluster_resolver
    return Share(number=resolver.task_id, count=resolver.cluster_spec().num_tasks("worker"))
