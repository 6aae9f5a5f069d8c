"""What a rank's courier takes to storage, and that nothing stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runner.model import Record
from runner.storage import Remote
from runner.worker.courier import LAST_WORD, Courier
from tests.conftest import wait_for

# A worker's process: it has a courier, says so, and goes on until it is killed.
WORKER = """\
import os, sys, time
from pathlib import Path
from runner.storage import Remote
from runner.worker.courier import Courier
scratch = Path(sys.argv[1])
log = (scratch / "log.txt").open("w")
by = Courier(scratch, Remote(sys.argv[2]), log="log.txt", others=[], scratch=scratch,
             environment=os.environ)
log.write("its last words\\n")
log.flush()
print("ready", flush=True)
time.sleep(600)
"""

PROGRESS = Record(at_s=1.0, event="progress", task="a", attempt=1)
FINISHED = Record(
    at_s=2.0, event="attempt_ended", task="a", attempt=1, data={"status": "finished", "error": None}
)
FAILED = Record(
    at_s=2.0, event="attempt_ended", task="a", attempt=1, data={"status": "failed", "error": {}}
)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "mine.py").write_text("pass\n")
    (folder / "log.txt").write_text("first\n")
    return folder


def courier(scratch: Path, to: Remote) -> Courier:
    return Courier(
        scratch, to, log="log.txt", others=["code"], scratch=scratch, environment=os.environ
    )


def test_log_and_code_arrive_and_the_last_record_waits_for_them(
    scratch: Path, tmp_path: Path
) -> None:
    to = Remote(f"file://{tmp_path}/store/run/a/1")
    by = courier(scratch, to)
    wait_for(lambda: (to / "log.txt").read() == b"first\n")
    assert (to / "code" / "mine.py").read() == b"pass\n"
    assert by.after(PROGRESS) is PROGRESS
    with (scratch / "log.txt").open("a") as log:
        log.write("second\n")
    wait_for(lambda: (to / "log.txt").read() == b"first\nsecond\n")
    with (scratch / "log.txt").open("a") as log:
        log.write("finished\n")
    assert by.after(FINISHED) is FINISHED
    assert (to / "log.txt").read() == b"first\nsecond\nfinished\n"
    assert scratch.is_dir()  # its owner may still be at work there
    del by  # as when the process ends
    wait_for(lambda: not scratch.exists())
    assert (to / "log.txt").read() == b"first\nsecond\nfinished\n"


def test_where_storage_can_not_be_written_the_attempt_fails_soon(
    scratch: Path, tmp_path: Path
) -> None:
    (tmp_path / "store").write_text("in the way")
    to = Remote(f"file://{tmp_path}/store/run/a/1")
    by = courier(scratch, to)
    ended = wait_for(lambda: (found := by.after(PROGRESS)) is not PROGRESS and found)
    assert (ended.event, ended.task, ended.data["status"]) == ("attempt_ended", "a", "failed")
    error = ended.data["error"]
    assert error["type"] == "StorageError"
    assert error["message"].startswith(f"{to}/code can't be written: ")
    # What ended the attempt before that is what is told of it.
    assert by.after(FAILED) is FAILED
    assert by.after(FINISHED).data["error"]["message"] == error["message"]


def test_what_can_not_be_read_here_is_told_and_nothing_stays_behind(
    scratch: Path, tmp_path: Path
) -> None:
    to = Remote(f"file://{tmp_path}/store/run/a/1")
    by = courier(scratch, to)
    wait_for(lambda: (to / "log.txt").exists())
    (scratch / "log.txt").unlink()
    told = by.after(FINISHED)
    assert told.data["status"] == "failed"
    error = told.data["error"]
    assert error["type"] == "FileNotFoundError"
    assert str(scratch / "log.txt") in error["message"]
    assert by.after(FAILED) is FAILED
    del by
    wait_for(lambda: not scratch.exists())


def test_what_a_worker_that_is_killed_said_last_arrives(scratch: Path, tmp_path: Path) -> None:
    to = Remote(f"file://{tmp_path}/store/run/a/1")
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(scratch), str(to)],
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as worker:
        assert worker.stdout is not None and worker.stdout.readline() == b"ready\n"
        os.killpg(worker.pid, signal.SIGKILL)
    log = wait_for(lambda: (data := (to / "log.txt").read() or b"").endswith(LAST_WORD) and data)
    assert log.startswith(b"its last words\n")
    wait_for(lambda: not scratch.exists())


def test_a_courier_that_is_gone_is_told(scratch: Path, tmp_path: Path) -> None:
    to = Remote(f"file://{tmp_path}/store/run/a/1")
    by = courier(scratch, to)
    wait_for(lambda: (to / "log.txt").exists())
    assert by.after(PROGRESS) is PROGRESS
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and b"runner.worker.courier" in _line(entry, "cmdline"):
            answers = Path(f"/proc/self/fd/{by._answers.fileno()}").readlink()
            if (entry / "fd" / "1").readlink() == answers:
                os.kill(int(entry.name), signal.SIGKILL)
    told = by.after(FINISHED)
    assert told.data["status"] == "failed"
    assert "the process that does so has ended" in told.data["error"]["message"]


def _line(entry: Path, name: str) -> bytes:
    try:
        return (entry / name).read_bytes()
    except OSError:
        return b""
