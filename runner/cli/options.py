"""Options that several commands take."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from runner.errors import UsageError

if TYPE_CHECKING:
    from runner.model import Inventory
    from runner.storage import Place

Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]

file_argument: Decorator = click.argument("file", type=click.Path(path_type=Path))
run_argument: Decorator = click.argument("run", default="latest")
set_option: Decorator = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Override a value of the spec, such as tasks.student.temperature=4. Repeatable.",
)
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
address_option: Decorator = click.option(
    "--address",
    metavar="HOST:PORT",
    help="The cluster's head; else RAY_ADDRESS, else the cluster of 'runner up', else one that "
    "this command starts for itself. 'local' means that one.",
)

cluster_option: Decorator = click.option(
    "--cluster",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A Ray cluster-launcher file whose node types may be started as tasks need them.",
)


def node_types(file: Path | None) -> Inventory | None:
    """What ``--cluster FILE`` names. Raises UsageError or SpecError for a file that is none."""
    if file is None:
        return None
    from runner.plan.cluster_file import read

    try:
        return read(file.read_bytes(), file=str(file))
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}") from None


def _storage(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Place:
    from runner.runs.finding import storage_at

    return storage_at(value, os.environ)


storage_option: Decorator = click.option(
    "--storage",
    callback=_storage,
    metavar="FOLDER|URI",
    help="Where runs lie, such as s3://bucket/runs; else RUNNER_STORAGE, else ./runs.",
)
