"""runner init KIND"""

from __future__ import annotations

import click

from runner.errors import UsageError


@click.command()
@click.argument("kind")
def command(kind: str) -> None:
    """Print a commented starter spec of a kind, which runs as it stands.

    \b
    runner init distill > job.yaml
    runner submit job.yaml
    """
    from runner.kinds import KINDS, find
    from runner.spec.suggest import did_you_mean

    if kind not in KINDS:
        raise UsageError(f"no kind is called '{kind}'{did_you_mean(kind, KINDS)}")
    click.echo(find(kind).starter, nl=False)
