"""Options that several commands take."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import click

from runner.errors import UsageError

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


def _storage(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Path:
    text = value or os.environ.get("RUNNER_STORAGE") or "runs"
    if "://" in text:
        raise UsageError(
            f"storage {text} is a URI; this version keeps runs in folders",
            hint="name a folder that every node reaches, such as a network mount",
        )
    return Path(text)


storage_option: Decorator = click.option(
    "--storage",
    callback=_storage,
    metavar="FOLDER",
    help="Where runs lie; else RUNNER_STORAGE, else ./runs.",
)
