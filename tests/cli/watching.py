"""The command under a terminal of a chosen size, and a screen that shows what a person sees."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path

CSI = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


class Screen:
    """As much of a terminal as the live view uses. Text past the last column wraps, as it would."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.lines: list[str] = [""]
        self.row = self.column = 0
        self.wrapped = 0  # lines that were too wide
        self.moved_up = 0  # how often the cursor went back to redraw
        self.coloured = False
        self.history: list[list[str]] = []  # the screen before each redraw

    def feed(self, text: str) -> None:
        at = 0
        while at < len(text):
            sequence = CSI.match(text, at)
            if sequence:
                self._control(sequence.group(1), sequence.group(2))
                at = sequence.end()
                continue
            self._character(text[at])
            at += 1

    def _character(self, character: str) -> None:
        if character == "\n":
            self.row, self.column = self.row + 1, 0
        elif character == "\r":
            self.column = 0
        else:
            if self.column >= self.columns:
                self.wrapped += 1
                self.row, self.column = self.row + 1, 0
            self._reach()
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
            self.column += 1
        self._reach()

    def _reach(self) -> None:
        while len(self.lines) <= self.row:
            self.lines.append("")

    def _control(self, argument: str, what: str) -> None:
        if what == "F":
            self.history.append(list(self.lines))
            self.moved_up += 1
            self.row, self.column = self.row - int(argument or 1), 0
            assert self.row >= 0, "the cursor went above the first line"
        elif what == "K":
            self.lines[self.row] = ""
        elif what == "J":
            self.lines[self.row :] = [""]
        elif what == "m":
            self.coloured = True
        else:
            raise AssertionError(f"a sequence that no test knows: {argument}{what}")


def terminal(columns: int, rows: int) -> tuple[int, int]:
    """A terminal of that size: the end to read from, and the end that a process has."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    return ours, theirs


def read_until(ours: int, text: str, timeout_s: float = 10.0) -> str:
    """What the terminal got, up to the redraw that has ``text`` in it."""
    seen = bytearray()
    deadline = time.monotonic() + timeout_s
    while text.encode() not in seen or not seen.endswith(b"\x1b[J"):
        assert time.monotonic() < deadline, seen.decode()
        if select.select([ours], [], [], 0.1)[0]:
            seen += os.read(ours, 65536)
    return seen.decode()


def watch(
    arguments: list[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    columns: int,
    piped_output: bool = False,
    timeout_s: float = 60.0,
) -> tuple[int, str, str]:
    """The exit code of the command, what the terminal got, and what a piped standard output got."""
    ours, theirs = terminal(columns, rows=24)
    process = subprocess.Popen(
        [sys.executable, "-m", "runner", *arguments],
        cwd=folder,
        env=dict(environment),
        stdin=theirs,
        stdout=subprocess.PIPE if piped_output else theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = bytearray()
    deadline = time.monotonic() + timeout_s
    with process:
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 1.0)[0]:
                continue
            try:
                data = os.read(ours, 65536)
            except OSError:  # the other end was closed: how a terminal tells of the end
                break
            seen += data
        else:
            process.kill()
        piped = process.stdout.read().decode() if process.stdout else ""
    os.close(ours)
    return process.returncode, seen.decode(), piped
