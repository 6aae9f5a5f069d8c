"""Errors as a person reads them."""

from __future__ import annotations

import os
import sys

import click

from runner.cli.output import telling
from runner.errors import Fault, PlanError, RunnerError, SpecError

BUG = (
    "\nThis is a bug in runner, not in your spec. Please report it to the project's issue tracker, "
    "with the lines above and the command that printed them."
)
SOURCE_WIDTH = 100


def colour(stream: object) -> bool:
    """Whether to colour what goes to ``stream``: a terminal, and NO_COLOR is not set."""
    is_terminal = getattr(stream, "isatty", lambda: False)()
    return bool(is_terminal) and not os.environ.get("NO_COLOR")


def show(error: RunnerError) -> None:
    """Print an error to standard error: what is wrong, where, and what to do."""
    with telling():
        _show(error)


def _show(error: RunnerError) -> None:
    if isinstance(error, SpecError):
        for fault in error.faults:
            click.echo(_fault(fault), err=True, color=colour(sys.stderr))
        count = len(error.faults)
        click.echo(f"{count} fault{'s' if count > 1 else ''}", err=True)
        return
    label = "this can never run: " if isinstance(error, PlanError) else "error: "
    text = click.style(label, fg="red", bold=True) + error.message
    if error.hint:
        text += "\n" + click.style("hint: ", bold=True) + error.hint
    click.echo(text, err=True, color=colour(sys.stderr))


def _fault(fault: Fault) -> str:
    place = click.style(f"{fault.file}:{fault.line}:{fault.column}:", bold=True)
    lines = [f"{place} {fault.message}"]
    if fault.source.strip():
        # A long line is cut to what surrounds the fault.
        start = max(0, fault.column - SOURCE_WIDTH + 20)
        before = _plain(fault.source[start : fault.column - 1])
        after = _plain(fault.source[fault.column - 1 : start + SOURCE_WIDTH])
        caret = " " * _width(before) + click.style("^", fg="red", bold=True)
        lines += [f"    {before}{after}".rstrip(), f"    {caret}"]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """``text`` with a blank for each tab and control character, which would move what follows."""
    return "".join(char if char.isprintable() else " " for char in text)


def _width(text: str) -> int:
    """How many columns of a terminal the text takes: some characters take two, some none."""
    import unicodedata

    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    combined = sum(unicodedata.combining(char) > 0 for char in text)
    return len(text) + wide - combined
