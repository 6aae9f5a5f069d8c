"""runner resume RUN"""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from runner.cli.carrying import carry_out
from runner.cli.options import address_option, json_option, run_argument, storage_option


@click.command()
@run_argument
@address_option
@storage_option
@json_option
def command(run: str, address: str | None, storage: Path, as_json: bool) -> int:
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

    folder = find(run, storage)
    job = folder.plan().job
    before(folder)  # refuses what can't be resumed, ere a cluster is started
    request = Request(
        job=job,
        storage=str(folder.path.parent),
        submitted_at_s=submitted_at_s,
        secrets=secrets_of(job, os.environ),
        resumes=str(folder.path),
    )
    return carry_out(request, resolve(address, os.environ), as_json=as_json)
