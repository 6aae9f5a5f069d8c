"""runner report [RUN]"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from shutil import get_terminal_size

import click

from runner.cli.errors import colour
from runner.cli.options import json_option, run_argument, storage_option
from runner.cli.output import telling
from runner.storage import Place


@click.command()
@run_argument
@storage_option
@json_option
@click.option("--open", "in_browser", is_flag=True, help="Open the HTML report in a browser.")
def command(run: str, storage: Place, as_json: bool, in_browser: bool) -> None:
    """Show RUN's report, and write its report.json, report.md and report.html anew."""
    from runner.report.summary import to_json
    from runner.report.terminal import to_terminal
    from runner.runs.finding import find
    from runner.runs.reporting import write_reports

    folder = find(run, storage)
    report = write_reports(folder)
    page = folder.path / "report.html"
    if as_json:
        click.echo(to_json(report), nl=False)
    else:
        text = to_terminal(
            report,
            location=os.path.relpath(page) if isinstance(page, Path) else str(page),
            colour=colour(sys.stdout),
            columns=get_terminal_size().columns,
        )
        click.echo(text, nl=False)
    if in_browser:
        import webbrowser

        if not webbrowser.open(_local(page).as_uri()):
            with telling():
                click.echo(f"no browser can be opened here; the report is {page}", err=True)


def _local(page: Place) -> Path:
    """The page where a browser of this machine reaches it: a copy of one that lies at a URI."""
    if isinstance(page, Path):
        return page
    copy = Path(tempfile.mkdtemp(prefix="runner-report-")) / page.name
    copy.write_bytes(page.read() or b"")
    return copy
