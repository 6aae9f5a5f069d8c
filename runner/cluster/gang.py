"""A gang: the worker processes of one attempt, on a placement group, and what they send back."""

from __future__ import annotations

import io
import os
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from runner.errors import ClusterError
from runner.model import Order, Placement, Record
from runner.worker.wire import order_from_json, order_to_json, record_from_json, record_to_json

LOG, CODE = "log.txt", "code"
_RAY_NAMES = ("CPU", "GPU", "memory")


def work(order_text: str, secrets: Mapping[str, str], code: bytes | None) -> Iterator[str]:
    """One rank's process: the attempt's records as they come, each a line of JSON.

    It lives for one attempt, and its output goes to the attempt's log.
    """
    import ray

    from runner.worker.attempt import attempt
    from runner.worker.log import log_line

    order = order_from_json(order_text)
    os.environ |= secrets
    _capture(Path(order.folder))
    if code is not None:
        order = replace(order, workdir=_unpack(code, Path(order.folder)))
    node = ray.get_runtime_context().get_node_id()
    for record in attempt(order):
        if record.event == "attempt_running":
            record = replace(record, data={**record.data, "node_id": node})
        if (line := log_line(record)) is not None:
            print(line, flush=True)  # goes to the attempt's log
        yield record_to_json(record)


def _capture(folder: Path) -> None:
    """Send this process's standard output and error to the attempt's log, for good."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # the attempt meets the same and reports it
        return
    sys.stdout.flush()
    sys.stderr.flush()
    with (folder / LOG).open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "wb", closefd=False), write_through=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "wb", closefd=False), write_through=True)


def _unpack(code: bytes, folder: Path) -> str:
    """The user's code in the attempt's folder, where it can be read afterwards too."""
    target = folder / CODE
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        archive.extractall(target)
    return str(target)


@dataclass(frozen=True, slots=True)
class Arrived:
    """A record that a gang's worker sent."""

    gang: Gang
    record: Record


@dataclass(frozen=True, slots=True)
class Gone:
    """A gang's stream ended. ``lost`` says how its worker was lost; None if it simply ended."""

    gang: Gang
    lost: str | None


class Gang:
    """The processes of one attempt, started on creation. Nothing of them is left after ``stop``."""

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
        selector = dict(placement.labels)
        if placement.node_ids:
            selector["ray.io/node-id"] = f"in({','.join(placement.node_ids)})"
        self._group = placement_group(
            [dict(placement.demand)], bundle_label_selector=[selector] if selector else None
        )
        options: dict[str, Any] = {
            "num_cpus": placement.demand["CPU"],
            "num_gpus": placement.demand.get("GPU", 0),
            "resources": {k: v for k, v in placement.demand.items() if k not in _RAY_NAMES},
            "scheduling_strategy": PlacementGroupSchedulingStrategy(self._group),
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
        process: Any = ray.remote(max_calls=1)(work).options(**options)
        self.stream: Any = process.remote(order_to_json(order), dict(secrets), code)

    def waiting(self) -> Literal["busy", "infeasible"] | None:
        """Why no worker has started: its place is taken, or nothing alive could hold it."""
        from ray.util.placement_group import placement_group_table

        table = placement_group_table(self._group)
        state = table["stats"]["scheduling_state"]
        if table["state"] == "CREATED":
            return None
        return "infeasible" if state == "INFEASIBLE" else "busy"

    def stop(self) -> None:
        """End the worker process and give its place back."""
        import ray
        from ray.util.placement_group import remove_placement_group

        ray.cancel(self.stream, force=True)
        remove_placement_group(self._group)


def poll(gangs: Sequence[Gang], timeout_s: float) -> list[Arrived | Gone]:
    """What the gangs have sent: waits up to ``timeout_s`` for the first, then takes the rest.

    Raises ClusterError if the cluster stops answering.
    """
    import ray
    from ray.exceptions import RaySystemError, RpcError

    happened: list[Arrived | Gone] = []
    open_gangs = {id(gang.stream): gang for gang in gangs}
    wait_s = timeout_s
    while open_gangs:
        streams = [gang.stream for gang in open_gangs.values()]
        try:
            ready, _ = ray.wait(streams, num_returns=1, timeout=wait_s)
            if not ready:
                break
            gang = open_gangs[id(ready[0])]
            event = _receive(gang)
        except (RaySystemError, RpcError) as error:
            said = str(error).splitlines()[0]
            raise ClusterError(f"the cluster stopped answering: {said}") from error
        wait_s = 0
        happened.append(event)
        if isinstance(event, Gone):
            del open_gangs[id(gang.stream)]
    return happened


def _receive(gang: Gang) -> Arrived | Gone:
    import ray
    from ray.exceptions import RayError, RaySystemError, RayTaskError, RpcError

    try:
        return Arrived(gang, record_from_json(ray.get(next(gang.stream))))
    except StopIteration:
        return Gone(gang, None)
    except RayTaskError:
        raise  # the worker catches what tasks raise, so this is a bug of ours
    except (RaySystemError, RpcError):
        raise  # of the cluster, not of this worker
    except RayError as error:
        return Gone(gang, _how_lost(error))


def _how_lost(error: Exception) -> str:
    """One sentence out of Ray's page about a dead worker."""
    text = str(error)
    if "out of memory" in text.lower() or type(error).__name__ == "OutOfMemoryError":
        return "the worker was ended because its node ran out of memory"
    if "node" in text and "died" in text and "Worker exit" not in text:
        return "the node that the worker ran on was lost"
    detail = re.search(r"Worker exit detail: ([^.\n]+)", text)
    said = f" ({detail.group(1).strip()})" if detail else ""
    return f"the worker process was killed or crashed{said}"
