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
from runner.kinds import Kind, find
from runner.model import Artifact, Context, Fact, Metric, Order, Progress, Record
from runner.worker.digest import describe
from runner.worker.failure import failure
from runner.worker.stalled import Stalled

# Metrics gather for this long before they travel as one record.
FLUSH_S = 0.5


class Interrupted(BaseException):
    """Raised at SIGINT by a process that is to end by it, whatever the task's code catches."""


def attempt(order: Order, *, clock: Callable[[], float] = time.time) -> Iterator[Record]:
    """The records of one attempt, from ``attempt_running`` to ``attempt_ended``, as they come.

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
        kind = find(order.kind)
        for item in kind.run(_context(order, kind)):
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
                yield record("artifact", describe(item))
    except (GeneratorExit, Interrupted):
        raise
    except BaseException as error:
        if points:
            yield record("metrics", {"points": points})
        yield record("attempt_ended", {"status": "failed", "error": failure(error, workdir)})
        return
    finally:
        stalled.over()
    if points:
        yield record("metrics", {"points": points})
    yield record("attempt_ended", {"status": "finished", "error": None})


def _context(order: Order, kind: Kind) -> Context:
    folder = Path(order.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunnerError(
            f"the run folder {folder} can't be written on {socket.gethostname()}: {error.strerror}",
            hint="--storage must be a folder that every node of the cluster reaches",
        ) from None
    return Context(
        params=kind.params.model_validate(dict(order.params), strict=False),
        folder=folder,
        seed=order.seed,
        device=order.device,
        threads=order.threads,
        ready_at_s=order.ready_at_s,
        rank=order.rank,
        world_size=order.world_size,
        host=order.host,
        timeout_s=order.timeout_s,
        earlier=tuple(Path(folder) for folder in order.earlier),
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
        "torch": version("torch"),
        "device": order.device,
        "threads": order.threads,
        "cpu": _cpu_name(),
        "platform": platform.platform(),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
