"""Standard output and standard error, whose reader may go, or whose disk may be full."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb
from typing import TextIO

import click


def silence(stream: TextIO) -> None:
    """From now on drop what is written to ``stream``, and what it holds back."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@contextmanager
def telling() -> Iterator[None]:
    """A block that prints to standard error, which goes on in silence where nobody can read it."""
    try:
        yield
    except OSError:
        silence(sys.stderr)


def of_printing(error: OSError) -> bool:
    """Whether it was raised as something was printed, rather than by what a command does."""
    *_, (frame, _) = walk_tb(error.__traceback__)
    return frame.f_code is click.echo.__code__
