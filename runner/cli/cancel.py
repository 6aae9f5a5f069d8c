"""runner cancel RUN"""

from __future__ import annotations

import time

import click

from runner.cli.options import storage_option
from runner.errors import UsageError
from runner.storage import Place

WAIT_S = 15.0


@click.command()
@click.argument("run")
@storage_option
def command(run: str, storage: Place) -> None:
    """Ask RUN to end early: its workers are ended, and it is marked cancelled.

    A beginning of its name will do, if only one run that begins so is running.
    """
    from runner.runs.finding import driver_alive, ended_as, find

    folder = find(run, storage, running=True)

    def status() -> str | None:
        records = folder.records()
        return ended_as(records) or (None if driver_alive(folder, records) else "lost")

    before = status()
    if before is not None:
        raise UsageError(f"{folder.run} is not running: it is {before}")
    folder.request_cancel()
    deadline = time.monotonic() + WAIT_S
    while status() is None and time.monotonic() < deadline:
        time.sleep(folder.look_s)
    click.echo(f"{folder.run}  {status() or 'asked to end; its driver has not done so yet'}")
