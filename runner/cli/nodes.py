"""runner nodes"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from runner.cli.carrying import carry_out
from runner.cli.options import address_option, json_option, storage_option
from runner.storage import Place

if TYPE_CHECKING:
    from runner.model import Inventory, Node
    from runner.report.summary import Report


@click.command()
@address_option
@click.option(
    "--bench",
    is_flag=True,
    help="Measure every node, as a run of its own: matrix products, copies, all-reduce.",
)
@storage_option
@json_option
def command(address: str | None, bench: bool, storage: Place, as_json: bool) -> int | None:
    """Show what the cluster offers, or this machine as a cluster started for it would.

    With --bench, measure what each node can do, on all of its GPUs or CPUs: a run of kind bench
    that waits where a node is in use. Exit code 0 means that every node was measured.
    """
    submitted_at_s = time.time()
    from runner.cluster.address import resolve
    from runner.runs.submission import target

    where_to = resolve(address, os.environ)
    with target(where_to) as where:
        inventory = where.inventory
    if not bench:
        click.echo(json.dumps(asdict(inventory), indent=2) if as_json else _offer(inventory))
        return None
    from runner.plan.measuring import measure_nodes
    from runner.runs.request import Request

    plan = measure_nodes(inventory)
    request = Request(
        job=plan.job,
        storage=str(storage.absolute()),
        submitted_at_s=submitted_at_s,
        secrets={},
        plan=plan,
    )
    return carry_out(request, where_to, as_json=as_json, shown=_measured)


def _offer(inventory: Inventory) -> str:
    lines = [inventory.source]
    width = max((len(node.name) for node in inventory.nodes), default=0)
    for node in inventory.nodes:
        devices = ", ".join(str(device) for device in node.accelerators) or "no accelerators"
        devices += _slice(node)
        lines.append(
            f"  {node.name:<{width}}  {node.cpus:g} CPUs  "
            f"{node.memory_bytes / 1e9:.1f} GB  {devices}"
        )
    return "\n".join(lines)


def _slice(node: Node) -> str:
    """Of which TPU slice the node is a host, as far as its labels say."""
    about = node.tpu_slice
    if about is None:
        return ""
    host = None if about.worker_id is None else f"host {about.worker_id}"
    size = " ".join(filter(None, (about.pod_type, about.topology and f"({about.topology})")))
    return "  " + ", ".join(filter(None, (about.name and f"slice {about.name}", size, host)))


def _measured(report: Report, location: str) -> str:
    """A line for each node, and what went wrong where something did."""
    from runner.cli.table import aligned
    from runner.report.failure import failures
    from runner.report.rates import by_node

    lines = aligned(by_node(report))
    for task, wrong in failures(report):
        lines += ["", f"{task.name}: {wrong.summary}"]
        lines += [f"  {label:<5} {text}" for label, text in
                  (("hint", wrong.hint), ("log", wrong.log)) if text]  # fmt: skip
    return "\n".join([*lines, "", f"report  {location}"]) + "\n"
