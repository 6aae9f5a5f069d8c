"""runner down"""

from __future__ import annotations

import os

import click


@click.command()
def command() -> None:
    """End the local cluster that 'runner up' started, and every run on it."""
    from runner.cluster.warm import down

    cluster = down(os.environ)
    click.echo(f"ended the cluster at 127.0.0.1:{cluster.port}" if cluster else "no cluster is up")
