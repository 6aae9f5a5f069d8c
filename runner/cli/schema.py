"""runner schema"""

from __future__ import annotations

import json

import click


@click.command()
def command() -> None:
    """Print the JSON Schema of specs.

    \b
    runner schema > runner.schema.json
    and at the top of a spec, for editors with the YAML language server:
    # yaml-language-server: $schema=runner.schema.json
    """
    from runner.spec.schema import schema

    click.echo(json.dumps(schema(), indent=2))
