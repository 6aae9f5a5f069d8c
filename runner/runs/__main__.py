"""python -m runner.runs [ADDRESS]: drive one run, for ``runner.submit``.

Takes a request on standard input and answers on standard output (see request.py).
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from threading import Event

from runner.cluster.address import resolve
from runner.errors import RunnerError
from runner.model import Record
from runner.runs.folder import RunFolder
from runner.runs.request import accepted, broken, ended, refused, request_from_json
from runner.runs.submission import drive


def main(arguments: list[str]) -> int:
    """Drive the run that standard input asks for; 0 if it finished."""
    request = request_from_json(sys.stdin.buffer.readline())
    cancelled = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: cancelled.set())

    def tell(line: bytes) -> None:
        sys.stdout.buffer.write(line)
        sys.stdout.flush()

    def begin(folder: RunFolder) -> Callable[[Record], None]:
        tell(accepted(folder))
        return lambda record: None

    try:
        address = resolve(arguments[0] if arguments else None, os.environ)
        _, status = drive(request, address, begin=begin, cancelled=cancelled)
    except RunnerError as error:
        tell(refused(error))
        return int(error.exit_code)
    except Exception:
        tell(broken(traceback.format_exc()))
        raise
    tell(ended(status))
    return 0 if status == "finished" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
