"""Comparisons that run one after the other, each in a process of its own."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from startup import machine


def versions(packages: Sequence[str]) -> str:
    told = []
    for name in packages:
        try:
            told.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            told.append(f"{name} is not installed")
    return ", ".join(told)


def run(
    doc: str, parts: Mapping[str, tuple[str, str]], packages: Sequence[str], **environment: str
) -> None:
    """Runs those that the command line asks for, by default all: by name, a title and a module.

    What one measured and found wanting does not stop the others; the exit code tells of it.
    """

    def chosen(text: str) -> list[str]:
        names = text.split(",")
        unknown = ", ".join(name for name in names if name not in parts)
        if unknown:
            raise argparse.ArgumentTypeError(f"no {unknown}; there are {', '.join(parts)}")
        return names

    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--only", type=chosen, default=list(parts), metavar="PART,PART")
    names = parser.parse_args().only
    print(f"{machine()}, {platform.system()}; {versions(packages)}", flush=True)
    missed = []
    for name in names:
        title, module = parts[name]
        load = os.getloadavg()[0]
        print(f"\n## {title}\n", flush=True)
        # What the peers have to say is for when they fail.
        with tempfile.TemporaryFile() as errors:
            done = subprocess.run(
                [sys.executable, "-m", module],
                cwd=Path(__file__).parent,
                env={**os.environ, **environment},
                stderr=errors,
            )
            errors.seek(0)
            said = errors.read().decode()
        if done.returncode == 1 and "Traceback" not in said:
            missed.append(name)
        elif done.returncode:
            sys.exit(f"{name} failed:\n{said[-5000:]}")
        print(f"\nThe machine's load before this part was {load:.1f}.", flush=True)
    if missed:
        sys.exit(f"not all that is claimed holds: {', '.join(missed)}")
