"""A model served by a process of its own, as the process that asks sees it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from runner.data.classes import Array
from runner.data.described import read_any
from runner.errors import TaskError
from runner.model import SCRATCH

# Starting a runtime and compiling a model take the longest; a call of a model does not.
LIMIT_S = 600.0
_SHOWN_LINES, _SAMPLES_AT_ONCE = 8, 1024


class Server:
    """The model in ``folder``, loaded by its runtime in a fresh process. Use it in a ``with``.

    ``described`` is what the folder says of it; ``limit_s`` is how long an answer is waited for.
    What it is asked about lies in files in the folder that the environment has as SCRATCH, or with
    other temporary files. Raises TaskError if the runtime refuses the model, dies, or gives no
    answer in time; its last words are in the message.
    """

    def __init__(
        self,
        folder: Path,
        *,
        threads: int,
        device: str = "cpu",
        limit_s: float = LIMIT_S,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        _, self.described = read_any(folder)
        self.folder, self.device, self.limit_s, self._samples = folder, device, limit_s, 0
        self._scratch = tempfile.TemporaryDirectory(prefix=".serving-", dir=_scratch())
        self._log = (Path(self._scratch.name) / "log.txt").open("w+b")
        # The libraries that these runtimes compute with read their threads from here.
        numbers = {name: str(threads) for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "runner.serving"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={
                **os.environ,
                # A model of the user's own is built by code that this process can import.
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "KERAS_BACKEND": "tensorflow",
                # One process at a time holds a TPU: the task's own.
                "TPU_LOAD_LIBRARY": "0",
                **numbers,
                **(environment or {}),
            },
            start_new_session=True,
        )
        first = {
            "folder": str(folder),
            "threads": threads,
            "device": device,
            "scratch": self._scratch.name,
        }
        try:
            self._about = self._answer_to(first)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process that serves the model."""
        return self._process.pid

    @property
    def runtime(self) -> str:
        """Name and version of what runs the model."""
        return str(self._about["runtime"])

    @property
    def operations(self) -> Mapping[str, int]:
        """Operations by who carries them out, where the runtime tells."""
        return dict(self._about["operations"])

    @property
    def parameters(self) -> int | None:
        """Those that the file holds or, where that can't be told, those of what it was made of."""
        form = self.described.form
        counted = self._about["parameters"]
        return counted if counted is not None or form is None else form.parameters

    def use(self, inputs: Array) -> None:
        """What it is asked about from now on: samples (rows, *shape) with channels first."""
        file = Path(self._scratch.name) / "inputs.npy"
        np.save(file, inputs)
        self._samples = len(inputs)
        self._answer_to({"do": "take", "inputs": str(file)})

    def outputs(self) -> Array:
        """The outputs of all samples, in their order."""
        file, parts = Path(self._scratch.name) / "outputs.npy", []
        # A piece at a time, so that many samples are no reason to take a runtime for stuck.
        for start in range(0, self._samples, _SAMPLES_AT_ONCE):
            stop = start + _SAMPLES_AT_ONCE
            self._answer_to({"do": "outputs", "to": str(file), "start": start, "stop": stop})
            parts.append(np.load(file))
        return np.concatenate(parts)

    def warm_up(self, rows: int, calls: int) -> list[float]:
        """Seconds of each of so many calls with so many samples at once, after some to warm up."""
        return self._seconds({"do": "warm_up", "rows": rows, "calls": calls})

    def time(self, rows: int, calls: int) -> list[float]:
        """As ``warm_up``, for a model that is warm."""
        return self._seconds({"do": "time", "rows": rows, "calls": calls})

    def joules(self, rows: int, call_s: float) -> float | None:
        """What a call with so many samples, of ``call_s`` seconds, takes; None where unknown."""
        found: float | None = self._answer_to({"do": "energy", "rows": rows, "call_s": call_s})[
            "joules"
        ]
        return found

    def peak_memory_mb(self) -> float:
        """The most memory that its process held, in 1e6 bytes."""
        return float(self._answer_to({"do": "memory"})["peak_mb"])

    def close(self) -> None:
        """Ends the process, and waits for it."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe is not None:
                pipe.close()
        self._scratch.cleanup()

    def _seconds(self, question: Mapping[str, Any]) -> list[float]:
        found: list[float] = self._answer_to(question)["seconds"]
        return found

    def _answer_to(self, question: Mapping[str, Any]) -> dict[str, Any]:
        asking, answers = self._process.stdin, self._process.stdout
        assert asking is not None and answers is not None
        line = b""
        try:
            asking.write(json.dumps(question).encode() + b"\n")
            asking.flush()
            if not select.select([answers], [], [], self.limit_s)[0]:
                raise TaskError(
                    f"the runtime of {self.folder} gave no answer within {self.limit_s:g} s"
                )
            line = answers.readline()
        except BrokenPipeError:  # it has ended; why is said below
            pass
        if not line:
            raise TaskError(f"the runtime of {self.folder} {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise TaskError(answer["error"], hint=answer["hint"])
        return answer

    def _last_words(self) -> str:
        code = self._process.wait()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").splitlines()[-_SHOWN_LINES:]
        return "\n  ".join([f"{how}; its last words:", *said])


def _scratch() -> str | None:
    folder = os.environ.get(SCRATCH)
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
    return folder
