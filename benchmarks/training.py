"""Training beside its peers. Run: python benchmarks/training.py [--only PART,PART]

Parts: loop (what a step costs in the tutorial's loop, the best by hand, Lightning, Accelerate, Ray
Train and runner), ranks (gpt on two ranks and on one), first-step (how soon two ranks train, beside
Ray Train), accumulation (the last, shorter window), memory (of a worker). Each runs in processes of
its own. Peers: pip install -c constraints.txt -e .[benchmarks]
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from startup import machine

PARTS = {
    "loop": ("What a step costs", "trainers.loop_cost"),
    "ranks": ("Two ranks", "trainers.two_ranks"),
    "first-step": ("To the first step", "trainers.first_step"),
    "accumulation": ("Gradient accumulation", "trainers.accumulation"),
    "memory": ("Memory", "trainers.memory"),
}


def versions() -> str:
    told = []
    for name in ("torch", "ray", "lightning", "accelerate"):
        try:
            told.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            told.append(f"{name} is not installed")
    return ", ".join(told)


def chosen(text: str) -> list[str]:
    parts = text.split(",")
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", type=chosen, default=list(PARTS), metavar="PART,PART")
    parts = parser.parse_args().only
    print(f"{machine()}, {platform.system()}; {versions()}", flush=True)
    for part in parts:
        title, module = PARTS[part]
        load = os.getloadavg()[0]
        print(f"\n## {title}\n", flush=True)
        # What the peers have to say is for when they fail.
        with tempfile.TemporaryFile() as errors:
            done = subprocess.run(
                [sys.executable, "-m", module], cwd=Path(__file__).parent, stderr=errors
            )
            errors.seek(0)
            if done.returncode:
                sys.exit(f"{part} failed:\n{errors.read().decode()[-5000:]}")
        print(f"\nThe machine's load before this part was {load:.1f}.", flush=True)


if __name__ == "__main__":
    main()
