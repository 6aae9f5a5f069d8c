"""runner up"""

from __future__ import annotations

import os

import click


@click.command()
def command() -> None:
    """Start a local cluster that stays warm, for a quick start of every command after it.

    Its workers have their framework imported before a task comes. 'runner down' ends it.
    """
    from runner.cluster.address import state_file
    from runner.cluster.warm import down, up
    from runner.runs.resident import start

    cluster, is_new = up(os.environ)
    if is_new:
        try:
            start(os.environ)
        except BaseException:
            down(os.environ)
            raise
    state = "is up" if is_new else "was up already"
    click.echo(f"a local cluster {state} at 127.0.0.1:{cluster.port}; 'runner down' ends it")
    click.echo(
        f"dashboard: http://127.0.0.1:{cluster.dashboard_port}, "
        f"whose token lies in {state_file(os.environ)}"
    )
