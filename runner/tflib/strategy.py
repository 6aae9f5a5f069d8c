"""Under which strategy a task runs: one decision, which is pure, and one act."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from runner.errors import TaskError
from runner.tflib.gang import Gang, multi_worker
from runner.tflib.probe import Finding
from runner.tflib.tpu import Edge, TensorFlowEdge, Tpu, TpuAddress

Asked = Literal["auto", "tpu", "mirrored", "multi_worker", "one_device"]
Chosen = Literal["tpu", "mirrored", "multi_worker", "one_device"]
Fallback = Literal["mirrored", "one_device"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What a task runs under. ``instead_of_tpu`` says why it is not the TPU that it asked for."""

    strategy: Chosen
    replicas: int
    reason: str
    instead_of_tpu: str | None = None


def wants_tpu(asked: Asked, *, on_tpu_node: bool) -> bool:
    """Whether a TPU is to be looked for."""
    return asked == "tpu" or (asked == "auto" and on_tpu_node)


def decide(
    asked: Asked,
    *,
    fallback: Sequence[Fallback] = (),
    replicas: int | None = None,
    workers: int = 1,
    on_tpu_node: bool = False,
    found: Finding | None = None,
) -> Decision:
    """The strategy for what was ``asked``, given what a probe has ``found`` of a TPU.

    ``auto`` is tpu on a node whose TPU the task was given, else multi_worker for several
    ``workers``, else mirrored for several ``replicas``, else one_device; so is multi_worker where
    there was room for one worker only. Where a TPU is wanted and none is found, the first of
    ``fallback`` takes its place; ``replicas`` are those of the CPU that mirrored makes, two unless
    told.

    Raises TaskError, with what was looked for and where, if a TPU is wanted, none is found, and
    there is no fallback.
    """
    if not wants_tpu(asked, on_tpu_node=on_tpu_node):
        if workers > 1:
            reason = f"{'auto' if asked == 'auto' else 'as asked for'}; a replica on each worker"
            return Decision(strategy="multi_worker", replicas=workers, reason=reason)
        if asked == "multi_worker":
            return _on_cpu("one_device", None, "as there is one worker")
        if asked == "auto":
            asked = "mirrored" if (replicas or 1) > 1 else "one_device"
            return _on_cpu(asked, replicas, "auto")
        return _on_cpu(asked, replicas, "as asked for")
    if found is None:
        raise ValueError("a TPU is wanted, and nobody has looked for one")
    if found.is_there:
        return Decision(strategy="tpu", replicas=found.cores, reason=found.in_words())
    if not fallback:
        raise TaskError(
            f"there is {found.in_words()}",
            hint="run it where a TPU is, or let it run elsewhere with fallback: [one_device]",
        )
    fit = [name for name in fallback if name != "mirrored" or replicas is not None]
    return _on_cpu(
        (fit or fallback)[0], replicas, f"fallback: {found.in_words()}", why_no_tpu=found.said
    )


def _on_cpu(
    name: Asked, replicas: int | None, reason: str, why_no_tpu: str | None = None
) -> Decision:
    if name == "mirrored":
        count = replicas or 2
        return Decision(
            strategy="mirrored",
            replicas=count,
            reason=f"{reason}; {count} logical devices share this CPU: a test of replicas, and no "
            "faster than one",
            instead_of_tpu=why_no_tpu,
        )
    return Decision(strategy="one_device", replicas=1, reason=reason, instead_of_tpu=why_no_tpu)


@contextmanager
def running(
    decision: Decision,
    *,
    address: TpuAddress | None = None,
    edge: Edge | None = None,
    gang: Gang | None = None,
) -> Iterator[Any]:
    """The tf.distribute strategy of a decision, in a process that ``prepare`` has made ready.

    ``gang`` is that of multi_worker.

    A TPU is initialised on entry and shut down when the block is left, by whatever way: at its
    end, by an error, or by an interrupt.
    """
    if decision.strategy == "tpu":
        tpu = Tpu(address or TpuAddress(), edge or TensorFlowEdge())
        try:
            yield tpu.strategy()
        finally:
            tpu.stop()
        return
    if decision.strategy == "multi_worker":
        if gang is None:
            raise ValueError("multi_worker takes a gang")
        try:
            yield multi_worker(gang)
        finally:
            if gang.rank == 0:
                gang.end()
        # TensorFlow takes a rank that leaves before the first for one that has crashed.
        while not gang.is_over():
            pass
        return
    import tensorflow as tf

    if decision.strategy == "mirrored":
        yield tf.distribute.MirroredStrategy(
            [f"/cpu:{index}" for index in range(decision.replicas)],
            cross_device_ops=tf.distribute.HierarchicalCopyAllReduce(),
        )
    else:
        yield tf.distribute.OneDeviceStrategy("/cpu:0")
