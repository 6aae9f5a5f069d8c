"""runner validate FILE..."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import click

from runner.cli.options import json_option, set_option
from runner.errors import Exit, RunnerError, SpecError


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@set_option
@json_option
def command(files: tuple[Path, ...], overrides: tuple[str, ...], as_json: bool) -> int:
    """Check specs: every fault with its place. Nothing is started, no framework imported."""
    from runner.cli.errors import show
    from runner.spec.read import read

    found: list[dict[str, object]] = []
    right = True
    for file in files:
        try:
            job = read(file, overrides=overrides, environment=os.environ)
        except RunnerError as error:
            right = False
            if isinstance(error, SpecError):
                faults = [asdict(fault) for fault in error.faults]
            else:
                faults = [{"file": str(file), "line": 1, "column": 1, "message": error.message}]
            found.append({"file": str(file), "valid": False, "faults": faults})
            if not as_json:
                show(error)
        else:
            found.append({"file": str(file), "valid": True, "faults": []})
            if not as_json:
                count = len(job.tasks)
                click.echo(f"{file}: {job.name}, {count} task{'s' if count > 1 else ''}, valid")
    if as_json:
        click.echo(json.dumps(found, indent=2))
    return Exit.FINISHED if right else Exit.USAGE
