"""runner submit FILE"""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from runner.cli.carrying import carry_out
from runner.cli.options import (
    address_option,
    cluster_option,
    file_argument,
    json_option,
    node_types,
    set_option,
    storage_option,
)
from runner.storage import Place


@click.command()
@file_argument
@set_option
@address_option
@cluster_option
@storage_option
@json_option
def command(
    file: Path,
    overrides: tuple[str, ...],
    address: str | None,
    cluster: Path | None,
    storage: Place,
    as_json: bool,
) -> int:
    """Carry out the spec in FILE and report.

    Each task starts as soon as what it depends on is finished. Ctrl-C once ends the run cleanly,
    twice at once. Exit code 0 means that every task finished.
    """
    submitted_at_s = time.time()
    from runner.cluster.address import resolve
    from runner.spec.read import read

    job = read(file, overrides=overrides, environment=os.environ)
    where_to = resolve(address, os.environ)

    from runner.runs.request import Request, secrets_of

    request = Request(
        job=job,
        storage=str(storage.absolute()),
        submitted_at_s=submitted_at_s,
        node_types=node_types(cluster),
        secrets=secrets_of(job, os.environ),
    )
    return carry_out(request, where_to, as_json=as_json)
