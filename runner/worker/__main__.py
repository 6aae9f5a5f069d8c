"""python -m runner.worker ORDER.json: one attempt, without Ray; records go to standard output."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from runner.storage import Remote, at
from runner.worker.attempt import Interrupted, attempt
from runner.worker.scratch import scratch
from runner.worker.wire import order_from_json, record_to_json


def main(arguments: list[str]) -> int:
    """Carry out the order in the file named.

    Returns 0 if the attempt finished, 1 if it failed, 2 if there is no order in the file, 130 if it
    was interrupted, with where that was on standard error.
    """
    if len(arguments) != 1:
        print("usage: python -m runner.worker ORDER.json", file=sys.stderr)
        return 2
    try:
        order = order_from_json(Path(arguments[0]).read_bytes())
    except (OSError, ValueError, TypeError) as error:
        print(f"{arguments[0]} is not an order: {error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGINT, _interrupt)
    status = "failed"
    # What the task's own code prints goes to standard error, so that records stay one a line.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as records:
        os.dup2(2, 1)
        try:
            for record in attempt(order):
                print(record_to_json(record), file=records, flush=True)
                status = record.data.get("status", status)
        except Interrupted:
            traceback.print_exc()
            return 130
        finally:
            if isinstance(at(order.folder), Remote):
                shutil.rmtree(scratch())
    return 0 if status == "finished" else 1


def _interrupt(number: int, frame: object) -> NoReturn:
    raise Interrupted


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
