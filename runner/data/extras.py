"""Packages that only some formats of data need, and that may not be installed."""

from __future__ import annotations

from importlib.util import find_spec

from runner.errors import TaskError


def need(module: str, *, package: str, extra: str, what: str) -> None:
    """Raises TaskError, saying what to install, if there is no ``module`` to read ``what`` with."""
    # For a top-level name, find_spec only looks; it runs none of the package's code.
    if find_spec(module) is None:
        raise TaskError(
            f"{what} needs the package {package}, which is not installed",
            hint=f"pip install 'runner[{extra}]'",
        )
