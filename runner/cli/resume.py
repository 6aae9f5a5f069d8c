"""runner resume RUN"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli.carrying import carry_out
from runner.cli.options import address_option, json_option, run_argument, storage_option
from runner.cli.output import telling
from runner.storage import Place

if TYPE_CHECKING:
    from runner.model import Job


@click.command()
@run_argument
@address_option
@storage_option
@json_option
def command(run: str, address: str | None, storage: Place, as_json: bool) -> int:
    """Go on with RUN, which was cancelled, lost or failed; the newest one by default.

    Tasks that are finished stay so. The others start again, a training from its newest checkpoint
    if it wrote any. The spec is the one that was submitted; the code beside it is taken as it is
    now.
    """
    submitted_at_s = time.time()
    from runner.cluster.address import resolve
    from runner.runs.finding import find
    from runner.runs.request import Request, secrets_of
    from runner.runs.resuming import before
    from runner.spec.read import has_changed

    folder = find(run, storage)
    job = folder.plan().job
    before(folder)  # refuses what can't be resumed, ere a cluster is started
    if has_changed(job):
        _tell_of_change(job)
    request = Request(
        job=job,
        storage=str(folder.path.parent),
        submitted_at_s=submitted_at_s,
        secrets=secrets_of(job, os.environ),
        resumes=str(folder.path),
    )
    return carry_out(
        request, resolve(address, os.environ), as_json=as_json, earlier=folder.records()
    )


def _tell_of_change(job: Job) -> None:
    from runner.report.summary import command as anew

    path = str(job.path)
    file = job.file if str(Path(job.file).absolute()) == path else path
    with telling():
        click.echo(
            f"{file} has changed since; what was submitted is carried out "
            f"('{anew(file, job.overrides)}' starts a new run with it as it is now)",
            err=True,
        )
