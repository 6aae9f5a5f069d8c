"""A stream in a worker that holds every CPU of a cluster: what it gives, told as JSON.

Run as a script, in a process of its own, with the folder for what its reads leave behind.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray

from runner.cluster.connection import EMBEDDED_ENVIRONMENT
from runner.cluster.streaming import stream
from runner.errors import TaskError
from runner.model import Columns

BLOCK_BYTES = 4_000_000
STORE_BYTES = 100_000_000


@dataclass(frozen=True)
class Numbered:
    """Yields ``blocks`` blocks of 4 MB, each full of its number, and leaves a file for each."""

    folder: str
    number: int
    blocks: int = 1
    what: str = ""

    def __call__(self) -> Iterator[Columns]:
        first = Path(self.folder, f"first-{self.number}")
        if self.what == "dies always" or (self.what == "dies" and not first.exists()):
            first.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "task error":
            raise TaskError("the file x is torn", hint="write it again")
        if self.what == "bug":
            raise ZeroDivisionError("nothing to divide by")
        if self.number == 0:
            time.sleep(0.5)  # so that others are done before
        for block in range(self.blocks):
            Path(self.folder, f"block-{self.number}-{block}").touch()
            yield {
                "values": np.full((1000, 1000), self.number * self.blocks + block, dtype="f4"),
                "text": np.array([b"\0\xff"] * 1000, dtype=object),
            }


def in_order(folder: Path) -> Any:
    reads = [Numbered(str(folder), number, blocks=3) for number in range(8)]
    return [
        (int(block["values"][0, 0]), block["values"].shape, str(block["values"].dtype))
        for block in stream(3, 1, reads)
        if (block["values"] == block["values"][0, 0]).all() and block["text"][5] == b"\0\xff"
    ]


def is_ahead_by(folder: Path) -> Any:
    """How many of 100 blocks are read while nobody takes more than the first."""
    reads = [Numbered(str(folder), number, blocks=10) for number in range(10)]
    with closing(stream(2, 2, reads)) as blocks:
        next(blocks)
        before, until = -1, time.monotonic() + 60
        while (count := len(list(folder.glob("block-*")))) != before and time.monotonic() < until:
            before = count
            time.sleep(3)
        rest = sum(1 for _ in blocks)
    return {"ahead": count, "rest": rest}


def error(what: str) -> Callable[[Path], Any]:
    def told(folder: Path) -> Any:
        reads = [Numbered(str(folder), 1), Numbered(str(folder), 2, what=what)]
        try:
            return len(list(stream(1, 1, reads)))
        except TaskError as raised:
            return [type(raised).__name__, raised.message, raised.hint]

    return told


def again(folder: Path) -> Any:
    reads = [Numbered(str(folder), number, what="dies") for number in range(1, 3)]
    return [int(block["values"][0, 0]) for block in stream(1, 1, reads)]


def nothing(folder: Path) -> Any:
    return list(stream(1, 1, []))


CASES: dict[str, Callable[[Path], Any]] = {
    "in order": in_order,
    "ahead": is_ahead_by,
    "task error": error("task error"),
    "bug": error("bug"),
    "dies always": error("dies always"),
    "again": again,
    "nothing": nothing,
}


def work(folder: str) -> dict[str, Any]:
    found = {}
    for name, case in CASES.items():
        own = Path(folder, name)
        own.mkdir()
        found[name] = case(own)
    left: Any = ray.available_resources()  # type: ignore[no-untyped-call]
    return {**found, "cpus left": left.get("CPU", 0.0)}


def main(folder: str) -> None:
    os.environ |= EMBEDDED_ENVIRONMENT
    ray.init(
        address="local",
        num_cpus=1,
        object_store_memory=STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=str(Path(folder, "ray")),
    )
    try:
        found = ray.get(ray.remote(work).options(num_cpus=1).remote(folder))
        from ray._private.internal_api import memory_summary

        here = ray.get_runtime_context().gcs_address  # there may be other clusters
        spilled = "Spilled" in memory_summary(here, stats_only=True)  # type: ignore[no-untyped-call]
    finally:
        ray.shutdown()  # type: ignore[no-untyped-call]
    print(json.dumps({**found, "spilled": spilled}))


if __name__ == "__main__":
    main(sys.argv[1])
