"""The process that serves one model: questions on standard input, answers on standard output.

Each is one line of JSON; arrays travel as files. It ends when its standard input does, so that it
never outlives who asks. What the runtime prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from runner.data.channels import for_keras
from runner.data.described import Described, read_any
from runner.data.energy import joules_a_call
from runner.data.opened import Opened
from runner.data.timing import peak_memory_mb, seconds, timed
from runner.errors import RunnerError
from runner.serving.loading import open_folder

_ROWS_AT_ONCE = 64


class Session:
    """One opened model, and the samples that it is asked about."""

    def __init__(self, folder: Path, *, threads: int, device: str) -> None:
        framework, _ = read_any(folder)
        self._prepare = for_keras if framework == "keras" else np.asarray
        self._described, self._opened = open_folder(folder, threads=threads, device=device)
        self._inputs: Any = None
        self._calls: dict[int, Any] = {}

    def about(self) -> dict[str, Any]:
        """What the runtime says of the model."""
        opened = self._opened
        return {
            "runtime": opened.runtime,
            "operations": dict(opened.operations),
            "parameters": opened.parameters,
        }

    def take(self, inputs: str) -> dict[str, Any]:
        """Uses the samples in this file from now on."""
        self._inputs, self._calls = self._prepare(np.load(inputs)), {}
        return {}

    def outputs(self, to: str, start: int, stop: int) -> dict[str, Any]:
        """Writes the outputs of these samples, in their order, to a file."""
        rows, asked = fixed_rows(self._described) or _ROWS_AT_ONCE, self._inputs[start:stop]
        parts = [
            _filled_up(self._opened, asked[first : first + rows], self._described)
            for first in range(0, len(asked), rows)
        ]
        np.save(to, np.concatenate(parts))
        return {}

    def warm_up(self, rows: int, calls: int) -> dict[str, Any]:
        """Seconds of each of so many calls with so many samples, after some to warm up."""
        return {"seconds": timed(self._call(rows), calls)}

    def time(self, rows: int, calls: int) -> dict[str, Any]:
        """Seconds of each of so many calls, without any to warm up."""
        call = self._call(rows)
        return {"seconds": [seconds(call) for _ in range(calls)]}

    def energy(self, rows: int, call_s: float) -> dict[str, Any]:
        """Joules of a call with so many samples, which takes so long; None where unknown."""
        return {"joules": joules_a_call(self._call(rows), call_s)}

    def memory(self) -> dict[str, Any]:
        """The most memory the process held, in 1e6 bytes."""
        return {"peak_mb": peak_memory_mb()}

    def _call(self, rows: int) -> Any:
        if rows not in self._calls:
            shape = (rows, *self._inputs.shape[1:])
            ready = self._opened.ready(np.resize(self._inputs[:rows], shape))
            self._calls[rows] = lambda: self._opened.call(ready)
        return self._calls[rows]


def fixed_rows(described: Described) -> int | None:
    """The one batch size that the model takes, if it does not take any."""
    return None if described.form is None else described.form.batch_size


def _filled_up(opened: Opened, inputs: Any, described: Described) -> Any:
    """The outputs of a batch, which is filled up to the size that the model takes."""
    rows = fixed_rows(described) or len(inputs)
    if len(inputs) == rows:
        return opened.call(opened.ready(inputs))
    whole = np.resize(inputs, (rows, *inputs.shape[1:]))
    return opened.call(opened.ready(whole))[: len(inputs)]


def main() -> None:
    """Serves the model that the first line names until there are no more questions."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    first = json.loads(sys.stdin.readline())
    try:
        _serve(first, answers)
    finally:
        # Who asks removes it, too, unless it was killed.
        shutil.rmtree(first["scratch"], ignore_errors=True)


def _serve(first: Mapping[str, Any], answers: TextIO) -> None:
    session: Session | None = None
    asked = {"do": "about"}
    while asked:
        try:
            if session is None:
                session = Session(
                    Path(first["folder"]), threads=first["threads"], device=first["device"]
                )
            do = asked.pop("do")
            answer = getattr(session, do)(**asked)
        except RunnerError as error:
            answer = {"error": error.message, "hint": error.hint}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}", "hint": ""}
        print(json.dumps(answer), file=answers)
        line = sys.stdin.readline() if session is not None else ""
        asked = json.loads(line) if line else {}


if __name__ == "__main__":
    main()
