"""Job → run: find the cluster, plan, carry out, write the reports."""

from __future__ import annotations

import platform
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from threading import Event, Thread
from typing import Any

from runner.cluster import machine
from runner.cluster.address import Address
from runner.cluster.connection import connected, embedded, embedding, inventory
from runner.errors import UsageError
from runner.model import Inventory, Plan, Record, TaskStatus
from runner.plan import place
from runner.runs.code import pack
from runner.runs.driver import check_secrets, execute
from runner.runs.folder import RunFolder
from runner.runs.handover import hand_over
from runner.runs.reporting import warm, write_reports
from runner.runs.request import Request
from runner.runs.resuming import before, plan_again
from runner.runs.schedule import Before
from runner.storage import at


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a run goes: what it may use, and the session in which Ray is at hand.

    ``look`` tells what there is later on, while the session lasts.
    """

    inventory: Inventory
    session: AbstractContextManager[object]
    look: Callable[[], Inventory]


@contextmanager
def target(
    address: Address | None,
    node_types: Inventory | None = None,
    cancelled: Event | None = None,
) -> Iterator[Target]:
    """The cluster at ``address``, connected; or, for None, one that starts when it is entered.

    ``node_types`` are those that the cluster can still start. A start is given up once
    ``cancelled`` is set. Raises UsageError for a cluster that starts none of them.
    """
    if node_types is not None and (address is None or address.driver is not None):
        raise UsageError(
            "--cluster names node types to be started, which a local cluster can't do",
            hint="name the cluster that they belong to with --address",
        )
    if address is None:
        with embedding() as around:
            seen = machine.inventory()
            session = embedded(seen.nodes[0], around, cancelled or Event())
            yield Target(inventory=seen, session=session, look=lambda: seen)
    else:
        with connected(address):

            def look() -> Inventory:
                live = inventory(f"the cluster at {address} (from {address.origin})")
                if node_types is None:
                    return live
                return Inventory(
                    source=f"{live.source} and {node_types.source}",
                    nodes=live.nodes + node_types.nodes,
                )

            yield Target(inventory=look(), session=nullcontext(), look=look)


def run_name(job: str, at_s: float) -> str:
    """``<job>-<UTC date>-<time>-<four hex digits>``."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(at_s))
    return f"{job}-{stamp}-{secrets.token_hex(2)}"


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A run that is laid out and not yet started, or not yet started again."""

    folder: RunFolder
    plan: Plan
    code: bytes | None
    before: Mapping[str, Before] = field(default_factory=dict)


def open_run(request: Request, where: Target) -> Opened:
    """Plan what is asked for, pack its code and lay out its run folder. Nothing is started.

    Raises PlanError if it can never fit, UsageError for a missing secret, too much code, storage
    that can't be written, or a run that can't be resumed; nothing is changed then.
    """
    job, storage = request.job, at(request.storage)
    resumed = RunFolder(at(request.resumes)) if request.resumes else None
    done = before(resumed) if resumed else {}
    if resumed:
        plan = plan_again(resumed.plan(), where.inventory, done)
    else:
        plan = request.plan or place(job, where.inventory)
    check_secrets(plan, request.secrets)
    code = pack(Path(job.workdir), storage=storage) if job.workdir else None
    if resumed:
        resumed.reopen(plan)
    folder = resumed or RunFolder.create(storage, run_name(job.name, time.time()), plan)
    return Opened(folder=folder, plan=plan, code=code, before=done)


def drive(
    request: Request,
    address: Address | None,
    *,
    begin: Callable[[RunFolder], Callable[[Record], None]],
    cancelled: Event,
) -> tuple[RunFolder, TaskStatus]:
    """Plan and carry out what is asked for; the run and how it ended, its reports written.

    The resident driver of a warm cluster does it, if that is where it goes; else this process.
    ``begin`` is called once the run's folder is laid out, and returns what gets its records. Raises
    KeyboardInterrupt if ``cancelled`` is set before; there is no run then.
    """
    if cancelled.is_set():
        raise KeyboardInterrupt
    if address is not None and address.driver is not None and request.node_types is None:
        return hand_over(address.driver, request, begin, cancelled)
    with target(address, request.node_types, cancelled) as where:
        if cancelled.is_set():
            raise KeyboardInterrupt
        opened = open_run(request, where)
        status = carry_out(
            opened,
            where,
            submitted_at_s=request.submitted_at_s,
            environment=request.secrets,
            observe=begin(opened.folder),
            cancelled=cancelled,
        )
    return opened.folder, status


def carry_out(
    opened: Opened,
    where: Target,
    *,
    submitted_at_s: float,
    environment: Mapping[str, str],
    observe: Callable[[Record], None],
    cancelled: Event,
) -> TaskStatus:
    """Execute the plan of a run and write its reports; the run's status."""
    warming = Thread(target=warm, daemon=True)

    def watch(record: Record) -> None:
        # What draws the report is imported while tasks work, but not while they start.
        if record.event == "metrics" and warming.ident is None:
            warming.start()
        observe(record)

    try:
        return execute(
            opened.plan,
            opened.folder,
            session=where.session,
            about=_about(where.inventory),
            submitted_at_s=submitted_at_s,
            environment=environment,
            code=opened.code,
            observe=watch,
            cancelled=cancelled,
            before=opened.before,
            look=where.look,
        )
    finally:
        if warming.ident is not None:
            warming.join()
        try:
            if opened.folder.is_there():
                write_reports(opened.folder)
        finally:
            opened.folder.release()


def _about(seen: Inventory) -> dict[str, Any]:
    nodes = [
        {
            "name": node.name,
            "cpus": node.cpus,
            "memory_gb": round(node.memory_bytes / 1e9, 1),
            "accelerators": [str(device) for device in node.accelerators],
        }
        for node in seen.nodes
    ]
    return {
        "cluster": {"source": seen.source, "nodes": nodes},
        "environment": {
            "runner": version("runner"),
            "python": platform.python_version(),
            "ray": version("ray"),
            "torch": version("torch"),
            "platform": platform.platform(),
            "host": socket.gethostname(),
        },
    }
