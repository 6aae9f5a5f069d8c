"""cancel: which run a name means."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from runner.cluster.address import process_started
from runner.model import Record
from runner.runs.folder import RunFolder
from tests.cli.calling import Call, call
from tests.runs.plans import finished_run, run_folder

__all__ = ["call"]


def going_run(storage: Path, name: str) -> RunFolder:
    """A run that this process drives, and that nobody ends."""
    folder = run_folder(storage, name)
    began = process_started(os.getpid())
    driver = {"host": socket.gethostname(), "pid": os.getpid(), "started": began}
    folder.append(Record(at_s=time.time(), event="run_started", data={"driver": driver}))
    return folder


def test_a_beginning_means_the_one_run_that_is_running(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.cli.cancel.WAIT_S", 0.0)
    monkeypatch.setenv("HOME", str(tmp_path))
    storage = tmp_path / "kept"
    going = going_run(storage, "long-1")
    ended = finished_run(storage, "long-2")
    done = call("cancel", "long", "--storage", "~/kept")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("long-1  asked to end")
    assert going.cancel_requested()
    assert not ended.cancel_requested()
    # The newest is meant as it stands, and is not exchanged for another.
    os.utime(ended.path / "plan.json", (2**31, 2**31))
    assert "long-2 is not running" in call("cancel", "latest", "--storage", "kept").err


def test_a_beginning_of_several_that_are_running_names_them(call: Call, tmp_path: Path) -> None:
    for name in ("long-1", "long-2"):
        going_run(tmp_path / "runs", name)
    finished_run(tmp_path / "runs", "long-3")
    done = call("cancel", "long")
    assert (done.code, done.out) == (5, "")
    assert "2 running runs begin with 'long': long-2, long-1" in done.err
