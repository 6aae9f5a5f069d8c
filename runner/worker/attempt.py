"""Carry out one order and tell what happens, as records."""

from __future__ import annotations

import os
import platform
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from runner.errors import RunnerError
from runner.kinds import KINDS, Kind, find
from runner.kinds.gates import through
from runner.model import (
    SCRATCH,
    Artifact,
    Context,
    Fact,
    Metric,
    Order,
    Progress,
    Record,
    Stream,
)
from runner.storage import Remote, at
from runner.worker.digest import describe
from runner.worker.failure import failure
from runner.worker.scratch import fetch, folder_of, forget_inputs, keep
from runner.worker.stalled import Stalled

# Metrics gather for this long before they travel as one record.
FLUSH_S = 0.5


class Interrupted(BaseException):
    """Raised at SIGINT by a process that is to end by it, whatever the task's code catches."""


def attempt(
    order: Order, *, clock: Callable[[], float] = time.time, stream: Stream | None = None
) -> Iterator[Record]:
    """The records of one attempt, from ``attempt_running`` to ``attempt_ended``, as they come.

    ``stream`` is what data is read with that is not held in memory, where there is such.
    Whatever the task's code raises ends the attempt as ``failed``, with the error in the last
    record and the whole traceback on standard error; a KeyboardInterrupt of its own does, too, and
    only ``Interrupted`` comes through. Metrics are batched by time, never one by one.
    """

    def record(event: str, data: dict[str, Any]) -> Record:
        return Record(at_s=clock(), event=event, task=order.task, attempt=order.attempt, data=data)

    yield record(
        "attempt_running",
        {"host": socket.gethostname(), "pid": os.getpid(), "environment": _environment(order)},
    )
    workdir = None if order.workdir is None else str(Path(order.workdir).absolute())
    if workdir is not None:
        sys.path.insert(0, workdir)
    points: list[list[Any]] = []
    flushed = clock()
    stalled = Stalled(order.timeout_s)
    try:
        # Of an attempt that is killed, what it leaves lies in the run's folder.
        os.environ[SCRATCH] = str(folder_of(order))
        kind = find(order.kind)
        context = _context(order, kind, stream)
        for item in through(kind.run(context), getattr(context.params, "gates", None)):
            stalled.progressed()
            if isinstance(item, Metric):
                points.append([item.name, item.step, item.value])
                if clock() - flushed < FLUSH_S:
                    continue
            if points:
                yield record("metrics", {"points": points})
                points, flushed = [], clock()
            if isinstance(item, Progress):
                yield record("progress", _progress(item))
            elif isinstance(item, Fact):
                yield record("fact", {"name": item.name, "text": item.text})
            elif isinstance(item, Artifact):
                yield record("artifact", keep(order, item, describe(item)))
    except (GeneratorExit, Interrupted):
        raise
    except BaseException as error:
        if points:
            yield record("metrics", {"points": points})
        yield record("attempt_ended", {"status": "failed", "error": failure(error, workdir)})
        return
    finally:
        stalled.over()
        forget_inputs(order)
    if points:
        yield record("metrics", {"points": points})
    yield record("attempt_ended", {"status": "finished", "error": None})


def _context(order: Order, kind: Kind, stream: Stream | None) -> Context:
    folder, place = folder_of(order), at(order.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunnerError(
            f"the folder {folder} can't be written on {socket.gethostname()}: {error.strerror}",
            hint="TMPDIR names the folder for what is on its way to storage"
            if isinstance(place, Remote)
            else "--storage must be a folder that every node of the cluster reaches, or a URI",
        ) from None
    return Context(
        params=kind.params.model_validate(fetch(order, kind.params), strict=False),
        folder=folder,
        remote=place if isinstance(place, Remote) else None,
        seed=order.seed,
        device=order.device,
        threads=order.threads,
        ready_at_s=order.ready_at_s,
        rank=order.rank,
        world_size=order.world_size,
        host=order.host,
        timeout_s=order.timeout_s,
        earlier=tuple(at(folder) for folder in order.earlier),
        max_rows=order.max_rows,
        stream=stream,
    )


def _progress(item: Progress) -> dict[str, Any]:
    return {
        "step": item.step,
        "total_steps": item.total_steps,
        "epoch": item.epoch,
        "samples_per_s": item.samples_per_s,
        "loss": item.loss,
        "phase": item.phase,
    }


def _environment(order: Order) -> dict[str, Any]:
    from importlib.metadata import version

    return {
        "python": platform.python_version(),
        **({"torch": version("torch")} if _framework(order) == "torch" else {}),
        "device": order.device,
        "threads": order.threads,
        "cpu": _cpu_name(),
        "platform": platform.platform(),
    }


def _framework(order: Order) -> str:
    """Of a kind that there is none of, as the attempt is about to say, none."""
    return find(order.kind).framework_of(order.params) if order.kind in KINDS else ""


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
