"""runner nodes"""

from __future__ import annotations

import json
import os
from dataclasses import asdict

import click

from runner.cli.options import address_option, json_option


@click.command()
@address_option
@json_option
def command(address: str | None, as_json: bool) -> None:
    """Show what the cluster offers, or this machine as a cluster started for it would."""
    from runner.cluster.address import resolve
    from runner.runs.submission import target

    with target(resolve(address, os.environ)) as where:
        inventory = where.inventory
    if as_json:
        click.echo(json.dumps(asdict(inventory), indent=2))
        return
    click.echo(inventory.source)
    width = max((len(node.name) for node in inventory.nodes), default=0)
    for node in inventory.nodes:
        devices = ", ".join(str(device) for device in node.accelerators) or "no accelerators"
        click.echo(
            f"  {node.name:<{width}}  {node.cpus:g} CPUs  "
            f"{node.memory_bytes / 1e9:.1f} GB  {devices}"
        )
