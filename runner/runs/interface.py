"""The Python interface: ``runner.submit``, ``runner.find`` and the run that they give."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runner.errors import UsageError
from runner.report.summary import document
from runner.runs import finding
from runner.runs.finding import is_running, storage_at
from runner.runs.folder import RunFolder
from runner.runs.reporting import report_of
from runner.runs.request import (
    Request,
    folder_of,
    read_answer,
    request_to_json,
    secrets_of,
)
from runner.spec.read import read
from runner.storage import Place

POLL_S = 0.2


def submit(
    file: str | Path,
    *,
    overrides: Sequence[str] = (),
    address: str | None = None,
    storage: str | Place | None = None,
) -> Run:
    """Start carrying out a spec, as ``runner submit`` does, and return once it is planned.

    The run is driven by a process of its own, so that Ray stays out of this one. It goes on when
    this one is interrupted or ends; ``runner.find`` finds it again.

    Args:
        file: The spec.
        overrides: ``PATH=VALUE`` texts, as with ``--set``.
        address: The cluster, as with ``--address``.
        storage: Where runs lie, a folder or a URI; else RUNNER_STORAGE, else ./runs.

    Raises:
        SpecError: The spec has faults.
        PlanError: A task can never fit.
        ClusterError: The cluster is out of reach.
        UsageError: ``overrides`` is one text, a secret is missing, or storage can't be written.
    """
    submitted_at_s = time.time()
    if isinstance(overrides, str):
        raise UsageError(
            f"overrides is the text {overrides!r}; expected a list of PATH=VALUE texts",
            hint=f"overrides=[{overrides!r}]",
        )
    job = read(Path(file), overrides=overrides, environment=os.environ)
    where = storage_at(storage, os.environ).absolute()
    request = Request(
        job=job,
        storage=str(where),
        submitted_at_s=submitted_at_s,
        secrets=secrets_of(job, os.environ),
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "runner.runs", *([address] if address else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C is meant for this process, not for the run
    )
    assert process.stdin and process.stdout
    process.stdin.write(request_to_json(request))
    process.stdin.close()
    try:
        folder = folder_of(read_answer(process.stdout.readline()))
    except BaseException:
        process.terminate()  # where it has not ended by itself, as after an interrupt
        process.wait()
        process.stdout.close()
        raise
    return Run(folder, process)


def find(name: str = "latest", *, storage: str | Place | None = None) -> Run:
    """A run that lies in storage, whoever submitted it and whether or not it still goes on.

    Args:
        name: Its id, a beginning that only it has, ``latest``, or its folder's path.
        storage: Where runs lie, a folder or a URI; else RUNNER_STORAGE, else ./runs.

    Raises:
        RunNotFoundError: No run goes by that name, or more than one.
    """
    return Run(finding.find(name, storage_at(storage, os.environ)))


class Run:
    """A run: its state is read from its folder, so any process may look."""

    def __init__(self, folder: RunFolder, process: subprocess.Popen[bytes] | None = None) -> None:
        self._folder = folder
        self._process = process

    def __repr__(self) -> str:
        return f"<Run {self.name} {self.status}>"

    @property
    def name(self) -> str:
        """The run's id."""
        return self._folder.run

    @property
    def folder(self) -> Place:
        """Where its plan, records, reports, logs and artifacts lie: a Path, or a URI's Remote."""
        return self._folder.path

    @property
    def status(self) -> str:
        """``running``, or how it ended: ``finished``, ``failed``, ``lost`` or ``cancelled``."""
        return report_of(self._folder).status

    @property
    def report(self) -> Mapping[str, Any]:
        """What ``report.json`` holds, as the run stands."""
        return document(report_of(self._folder))

    @property
    def metrics(self) -> dict[str, Mapping[str, float]]:
        """For each task its measured figures by name."""
        return {task.name: task.metrics for task in report_of(self._folder).tasks}

    def wait(self, timeout_s: float | None = None) -> str:
        """Wait until the run has ended; returns its status.

        Raises TimeoutError if it has not after ``timeout_s`` seconds. The run goes on then, as it
        does when the waiting is interrupted; ``cancel`` ends it.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._over():
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} has not ended after {timeout_s:g} s")
            time.sleep(max(POLL_S, self._folder.look_s))
        return self.status

    def cancel(self) -> None:
        """Ask the run to end early; ``wait`` tells when it has."""
        self._folder.request_cancel()

    def _over(self) -> bool:
        if self._process is not None:
            if self._process.poll() is None:
                return False
            self._hear_out(self._process)
            self._process = None
        return not is_running(self._folder, self._folder.records())

    def _hear_out(self, process: subprocess.Popen[bytes]) -> None:
        """Raises what the process that has ended said of itself; killed, it said nothing."""
        assert process.stdout is not None
        with process.stdout as answers:
            last = answers.read()
        if last:
            read_answer(last)
