"""A gang: the worker processes of one attempt, on a placement group, and what they send back."""

from __future__ import annotations

import faulthandler
import io
import os
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from runner.cluster.reaper import VARIABLE
from runner.errors import ClusterError
from runner.model import Order, Placement, Record
from runner.storage import Remote, at
from runner.worker.wire import order_from_json, order_to_json, record_from_json, record_to_json

if TYPE_CHECKING:
    from runner.worker.courier import Courier

LOG, CODE = "log.txt", "code"
# How long a worker that has told its end may take to come to it: milliseconds, as a rule.
ENDING_S = 2.0
_RAY_NAMES = ("CPU", "GPU", "memory")
_NODE, _TPU_SLICE = "ray.io/node-id", "ray.io/tpu-slice-name"


def work(order_text: str, secrets: Mapping[str, str], code: bytes | None) -> Iterator[str]:
    """One rank's process: the attempt's records as they come, each a line of JSON.

    It lives for one attempt, and its output goes to the rank's log. What ranks but the first
    measure and make is the same as the first has, and stays here.
    """
    import ray

    from runner.cluster.streaming import stream
    from runner.worker.attempt import attempt
    from runner.worker.log import log_line
    from runner.worker.scratch import folder_of

    order = order_from_json(order_text)
    os.environ |= secrets
    folder = folder_of(order)
    _capture(folder, log_name(order.rank))
    if code is not None:
        order = replace(order, workdir=_unpack(code, folder))
    courier = _courier(order, folder)
    if order.world_size > 1:
        order = replace(order, host=ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
    node = ray.get_runtime_context().get_node_id()
    for record in attempt(order, stream=partial(stream, order.threads, order.world_size)):
        if record.event == "attempt_running":
            record = replace(record, data={**record.data, "node_id": node})
        if (line := log_line(record)) is not None:
            print(line, flush=True)  # goes to the rank's log
        if courier is not None:
            record = courier.after(record)
        if order.rank == 0 or record.event in ("attempt_running", "attempt_ended"):
            yield record_to_json(record)
        if record.event == "attempt_ended":
            return


def log_name(rank: int) -> str:
    """The file, in the attempt's folder, that a rank's output goes to."""
    return LOG if rank == 0 else f"log-{rank}.txt"


def _courier(order: Order, folder: Path) -> Courier | None:
    """Takes the log, and of rank 0 the user's code, where the run's folder is at a URI."""
    place = at(order.folder)
    if not isinstance(place, Remote):
        return None
    from runner.worker.courier import Courier
    from runner.worker.scratch import scratch

    return Courier(
        folder,
        place,
        log=log_name(order.rank),
        others=[CODE] if order.workdir is not None and order.rank == 0 else [],
        scratch=scratch(),
        # It outlives this worker, and so an embedded cluster for a moment.
        environment={name: value for name, value in os.environ.items() if name != VARIABLE},
    )


def _capture(folder: Path, name: str) -> None:
    """Send this process's standard output and error to the attempt's log, for good."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # the attempt meets the same and reports it
        return
    sys.stdout.flush()
    sys.stderr.flush()
    with (folder / name).open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "wb", closefd=False), write_through=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "wb", closefd=False), write_through=True)
    faulthandler.enable(sys.stderr, all_threads=False)  # Ray has it write to a log of its own


def _unpack(code: bytes, folder: Path) -> str:
    """The user's code in the attempt's folder, where it can be read afterwards too."""
    target = folder / CODE
    unfinished = Path(tempfile.mkdtemp(prefix=f".{CODE}-", dir=folder))
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        archive.extractall(unfinished)
    try:
        unfinished.rename(target)
    except OSError:  # another rank's is there
        shutil.rmtree(unfinished)
    return str(target)


@dataclass(frozen=True, slots=True)
class Arrived:
    """A record that a rank of a gang sent."""

    gang: Gang
    rank: int
    record: Record


@dataclass(frozen=True, slots=True)
class Gone:
    """A rank's stream ended. ``lost`` says how its worker was lost; None if it simply ended.

    ``hint`` is where to look for why. ``with_node`` is whether its node was lost, and so whatever
    would still bring its log.
    """

    gang: Gang
    rank: int
    lost: str | None
    hint: str = ""
    with_node: bool = False


class Gang:
    """The processes of one attempt, started on creation: all of them, or none.

    Nothing of them is left after ``stop``.
    """

    def __init__(
        self,
        order: Order,
        placement: Placement,
        *,
        env: Mapping[str, str],
        secrets: Mapping[str, str],
        code: bytes | None,
    ) -> None:
        import ray
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        self.task, self.attempt = order.task, order.attempt
        self.world_size = placement.num_workers
        selector = dict(placement.labels)
        if placement.node_ids:
            selector[_NODE] = f"in({','.join(placement.node_ids)})"
        bundles = [
            {name: amount * workers for name, amount in placement.demand.items()}
            for workers in placement.bundles
        ]
        strategy = "STRICT_SPREAD" if placement.is_spread else "PACK"
        # Ray takes one or the other: of TPU slices it chooses one that is free, as a whole.
        how: dict[str, Any] = {"strategy": strategy}
        if placement.in_one_slice:
            how = {"topology_strategy": {_NODE: strategy, _TPU_SLICE: "STRICT_PACK"}}
        self._group = placement_group(
            bundles,
            **how,
            bundle_label_selector=[selector] * len(bundles) if selector else None,
        )
        options: dict[str, Any] = {
            "num_cpus": placement.demand["CPU"],
            "num_gpus": placement.demand.get("GPU", 0),
            "resources": {k: v for k, v in placement.demand.items() if k not in _RAY_NAMES},
            "num_returns": "streaming",
            "max_retries": 0,  # whether to try again is the schedule's to decide
        }
        if "memory" in placement.demand:
            options["memory"] = placement.demand["memory"]
        if env:
            # In a process of its own, so that what libraries read at load time sees them.
            options["runtime_env"] = {"env_vars": dict(env)}
        # A task and not an actor: an idle worker that has run a task is never made an actor, so
        # only tasks find the warm ones. max_calls ends the process with the attempt.
        process: Any = ray.remote(max_calls=1)(work)
        in_bundle = [index for index, count in enumerate(placement.bundles) for _ in range(count)]
        self.streams: list[Any] = [
            process.options(
                **options,
                scheduling_strategy=PlacementGroupSchedulingStrategy(
                    self._group, placement_group_bundle_index=bundle
                ),
            ).remote(
                order_to_json(replace(order, rank=rank, world_size=self.world_size)),
                dict(secrets),
                code,
            )
            for rank, bundle in enumerate(in_bundle)
        ]
        # Ranks whose streams have ended, and those who have told the end of their attempt as well.
        self.ended: set[int] = set()
        self.said_all: set[int] = set()

    def listening(self) -> dict[Any, int]:
        """The streams that have not ended, with their ranks."""
        return {stream: rank for rank, stream in enumerate(self.streams) if rank not in self.ended}

    def waiting(self) -> Literal["busy", "infeasible"] | None:
        """Why no worker has started: its place is taken, or nothing alive could hold it."""
        from ray.util.placement_group import placement_group_table

        table = placement_group_table(self._group)
        state = table["stats"]["scheduling_state"]
        if table["state"] == "CREATED":
            return None
        return "infeasible" if state == "INFEASIBLE" else "busy"

    def stop(self) -> None:
        """End the worker processes and give their places back."""
        import ray
        from ray.util.placement_group import remove_placement_group

        for rank, stream in enumerate(self.streams):
            if rank in self.said_all:
                # Ray ends this process, by a failed check, if a task is cancelled as it completes.
                ray.wait([stream], timeout=ENDING_S)
            else:
                ray.cancel(stream, force=True)
        self._wait_until_over()
        remove_placement_group(self._group)

    def _wait_until_over(self) -> None:
        """Until Ray says of each worker that it is gone, but for ``ENDING_S`` at most.

        What they had still to tell is not listened to.
        """
        import ray
        from ray.exceptions import RayError

        deadline = time.monotonic() + ENDING_S
        for rank, stream in enumerate(self.streams):
            while rank not in self.ended and rank not in self.said_all:
                ready, _ = ray.wait([stream], timeout=max(0.0, deadline - time.monotonic()))
                if not ready:
                    return
                try:
                    ray.get(next(stream))
                except (StopIteration, RayError):
                    self.ended.add(rank)


def poll(gangs: Sequence[Gang], timeout_s: float) -> list[Arrived | Gone]:
    """What the gangs have sent: waits up to ``timeout_s`` for the first, then takes the rest.

    Raises ClusterError if the cluster stops answering.
    """
    import ray
    from ray.exceptions import RaySystemError, RpcError

    happened: list[Arrived | Gone] = []
    sources = {stream: (gang, rank) for gang in gangs for stream, rank in gang.listening().items()}
    wait_s = timeout_s
    while sources:
        try:
            ready, _ = ray.wait(list(sources), num_returns=1, timeout=wait_s)
            if not ready:
                break
            event = _receive(*sources[ready[0]], ready[0])
        except (RaySystemError, RpcError) as error:
            said = str(error).splitlines()[0]
            raise ClusterError(f"the cluster stopped answering: {said}") from error
        wait_s = 0
        happened.append(event)
        if isinstance(event, Gone):
            del sources[ready[0]]
            event.gang.ended.add(event.rank)
    return happened


def _receive(gang: Gang, rank: int, stream: Any) -> Arrived | Gone:
    import ray
    from ray.exceptions import RayError, RaySystemError, RayTaskError, RpcError

    try:
        record = record_from_json(ray.get(next(stream)))
    except StopIteration:
        gang.said_all.add(rank)
        return Gone(gang, rank, None)
    except RayTaskError:
        raise  # the worker catches what tasks raise, so this is a bug of ours
    except (RaySystemError, RpcError):
        raise  # of the cluster, not of this worker
    except RayError as error:
        gang.said_all.add(rank)
        return Gone(gang, rank, *_how_lost(error))
    if record.event == "attempt_ended":
        gang.said_all.add(rank)
    return Arrived(gang, rank, record)


def _how_lost(error: Exception) -> tuple[str, str, bool]:
    """A sentence out of Ray's page about a dead worker, where to look, whether its node is lost.

    It has no exit code.
    """
    text = str(error)
    if "out of memory" in text.lower() or type(error).__name__ == "OutOfMemoryError":
        return "the worker was ended because its node ran out of memory", "", False
    if "node" in text and "died" in text and "Worker exit" not in text:
        return "the node that the worker ran on was lost", "", True
    return (
        "the worker process was killed, or its code called os._exit",
        "SIGKILL leaves no trace in a log; the kernel sends it where memory runs out, and then "
        "'dmesg' on the worker's node says so",
        False,
    )
