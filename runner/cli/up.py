"""runner up"""

from __future__ import annotations

import os

import click

STATES = {
    "cluster": "a local cluster is up",
    "driver": "a local cluster was up already, its driver, which had ended, was started anew,",
    "nothing": "a local cluster was up already",
}


@click.command()
def command() -> None:
    """Start a local cluster that stays warm, for a quick start of every command after it.

    Its workers have their framework imported before a task comes. 'runner down' ends it.
    """
    from runner.cluster.address import state_file
    from runner.cluster.warm import up
    from runner.runs import resident

    what = up(os.environ, resident)
    port = what.cluster.port
    click.echo(f"{STATES[what.started]} at 127.0.0.1:{port}; 'runner down' ends it")
    click.echo(
        f"dashboard: http://127.0.0.1:{what.cluster.dashboard_port}, "
        f"whose token lies in {state_file(os.environ)}"
    )
