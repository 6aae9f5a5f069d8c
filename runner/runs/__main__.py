"""python -m runner.runs [ADDRESS]: drive one run, for ``runner.submit``.

Takes a request on standard input and answers on standard output (see request.py).
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from threading import Event

from runner.cluster.address import resolve
from runner.errors import Exit, RunnerError
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

    answers = FileIO(1, "wb", closefd=False)  # holds nothing back that it would write at the end

    def tell(line: bytes) -> None:
        with suppress(BrokenPipeError):  # whoever asked has gone; the run goes on
            answers.write(line)

    def begin(folder: RunFolder) -> Callable[[Record], None]:
        tell(accepted(folder))
        return lambda record: None

    try:
        address = resolve(arguments[0] if arguments else None, os.environ)
        _, status = drive(request, address, begin=begin, cancelled=cancelled)
    except RunnerError as error:
        tell(refused(error))
        return int(error.exit_code)
    except KeyboardInterrupt:  # before there was a run
        return int(Exit.INTERRUPTED)
    except Exception:
        tell(broken(traceback.format_exc()))
        raise
    tell(ended(status))
    return 0 if status == "finished" else 1


if __name__ == "__main__":
    # Ray may still be starting in a thread, if it was interrupted there; Python's own way out would
    # wait for it, or crash.
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)
