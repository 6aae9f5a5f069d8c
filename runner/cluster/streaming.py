"""Data read by Ray Data while a worker trains on it: what a task's ``Context`` calls ``stream``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from typing import Any

from runner.errors import RunnerError, TaskError
from runner.model import Columns, Read

# Of the nodes' object stores together, for what is read ahead: what readers hold comes to it, and
# Ray has other uses for the rest.
_SHARE_OF_STORE = 0.25
# What a reader may be ahead by.
_AHEAD_BYTES = 32_000_000
# Reads yield about 4 MB at a time. Ray Data puts smaller blocks together, and cuts those that are
# larger by half.
_BLOCK_BYTES = 3_000_000
# For a reader that was killed; Ray Data would go on for ever.
_RETRIES = 3


def stream(readers: int, ranks: int, reads: Sequence[Read]) -> Generator[Columns, None, None]:
    """What the ``reads`` yield, in their order, read by up to ``readers`` processes at once.

    They run on this worker's own node, beside it: they ask for no CPU, since a gang may hold all of
    them, and so it is the CPUs the worker has asked for that they are counted by. How far they are
    ahead is bounded by this worker's part of the object stores, of which ``ranks`` take one each;
    then they wait. Closing the generator ends them.

    A reader that dies is made up for by another. Raises what a read raised that runner raises on
    purpose, and TaskError if anything else goes wrong in one.
    """
    if not reads:
        return
    from ray.exceptions import RayError

    try:
        # Without a batch size, batches are the very blocks that were read, in shared memory.
        yield from _dataset(readers, ranks, reads).iter_batches(
            batch_size=None, batch_format="numpy", prefetch_batches=1
        )
    except RayError as error:
        raise _told(error) from error


def _dataset(readers: int, ranks: int, reads: Sequence[Read]) -> Any:
    import ray
    import ray.data
    from ray.data import DataContext, ExecutionResources
    from ray.data.block import BlockAccessor, BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    # Its warnings say that there are no progress bars, and what else it was told to do.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = _BLOCK_BYTES
    context.execution_options.preserve_order = True
    context.execution_no_progress_timeout_s = -1  # a step, or an evaluation, may take any time
    offered: Any = ray.cluster_resources  # which has no types
    store = offered().get("object_store_memory", 0.0)
    context.execution_options.resource_limits = ExecutionResources.for_limits(
        object_store_memory=min(_SHARE_OF_STORE * store / ranks, readers * _AHEAD_BYTES)
    )
    unknown = BlockMetadata(num_rows=None, size_bytes=None, exec_stats=None, input_files=None)

    class Reads(Datasource):
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]

        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, *_: object, **__: object) -> list[ReadTask]:
            return [ReadTask(partial(_blocks, BlockAccessor, read), unknown) for read in reads]

    with warnings.catch_warnings():
        # It warns of ray_remote_args, and has no other way to tell how often to try again.
        warnings.simplefilter("ignore", DeprecationWarning)
        return ray.data.read_datasource(
            Reads(),
            num_cpus=0,
            concurrency=readers,
            override_num_blocks=len(reads),
            label_selector={"ray.io/node-id": ray.get_runtime_context().get_node_id()},
            ray_remote_args={"max_retries": _RETRIES},
        )


def _blocks(accessor: Any, read: Read) -> Iterator[Any]:
    """What a read yields, as Ray Data's blocks."""
    for columns in read():
        yield accessor.batch_to_block(dict(columns))


def _told(error: BaseException) -> RunnerError:
    """The error out of a reader, under what Ray Data and Ray wrap around it."""
    while True:
        if isinstance(error, RunnerError) and type(error).__module__ == RunnerError.__module__:
            return error
        inner = getattr(error, "cause", None) or error.__cause__
        if not isinstance(inner, BaseException):
            break
        error = inner
    said = (str(error).strip().splitlines() or [""])[0]
    return TaskError(
        f"the data could not be read: {type(error).__name__}: {said}",
        hint="the log has the whole of it",
    )
