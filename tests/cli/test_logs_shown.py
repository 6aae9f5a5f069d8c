"""logs: what the tasks printed, once, and as it comes."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.cluster.address import process_started
from runner.runs.folder import RunFolder
from tests.cli.calling import Call, call
from tests.conftest import Command, Outcome, environment
from tests.runs.plans import finished_run, record, run_folder

__all__ = ["call"]


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def write_log(folder: RunFolder, task: str, attempt: int, text: str | bytes) -> Path:
    log = folder.path / task / str(attempt) / "log.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        file.write(text.encode() if isinstance(text, str) else text)
    return log


def test_one_log_is_printed_as_it_is_and_several_under_headings(call: Call, storage: Path) -> None:
    folder = finished_run(storage, "done", "b", "a")
    write_log(folder, "b", 1, "of b\n")
    for attempt in (10, 2):
        write_log(folder, "a", attempt, f"try {attempt}\n")
    assert call("logs", "done", "b").out == "of b\n"
    assert call("logs", "done", "a").out == (
        "==> a, attempt 2 <==\ntry 2\n==> a, attempt 10 <==\ntry 10\n"
    )
    # In the order of the plan.
    assert call("logs").out == (
        "==> b, attempt 1 <==\nof b\n==> a, attempt 2 <==\ntry 2\n==> a, attempt 10 <==\ntry 10\n"
    )


def test_a_task_that_is_none_is_exit_5(call: Call, storage: Path) -> None:
    finished_run(storage, "done", "teacher", "student")
    done = call("logs", "done", "studnet")
    assert done.code == 5
    assert "no task 'studnet'" in done.err
    assert "student" in done.err


def test_a_task_in_place_of_the_run_is_told_what_to_type(call: Call, storage: Path) -> None:
    finished_run(storage, "done", "teacher", "student")
    done = call("logs", "student")
    assert (done.code, done.out) == (5, "")
    assert "no run in runs begins with 'student'" in done.err
    assert done.err.endswith("for the task of that name: runner logs latest student\n")
    assert "runner list" in call("logs", "other").err


def test_where_nothing_was_printed_it_says_why(call: Call, storage: Path) -> None:
    folder = finished_run(storage, "done", "teacher", "student")
    assert call("logs", "done", "teacher") == Outcome(0, "", "'teacher' has printed nothing\n")
    assert call("logs", "done") == Outcome(0, "", "no task of done has printed anything\n")
    write_log(folder, "student", 1, "")
    assert call("logs", "done", "student").err == "'student' has printed nothing\n"
    write_log(folder, "student", 1, "words\n")
    assert call("logs", "done", "student") == Outcome(0, "words\n", "")
    assert call("logs", "done").err == ""


def test_a_task_that_did_not_start_is_said_to_be_so(call: Call, going: RunFolder) -> None:
    assert call("logs").err == "no task of going has printed anything yet\n"
    assert call("logs", "going", "only").err == "'only' has not started yet\n"
    going.append(record("attempt_started", "only"))
    assert call("logs", "going", "only").err == "'only' has not started yet\n"
    going.append(record("attempt_running", "only", node="here"))
    assert call("logs", "going", "only").err == "'only' has printed nothing yet\n"
    error = {"message": "it depends on 'first', which is failed"}
    folder = run_folder(going.path.parent, "broken", "first", "then")
    folder.append(record("task_ended", "then", status="skipped", error=error))
    folder.append(record("run_ended", status="failed"))
    assert call("logs", "broken", "then").err == (
        "'then' never started: it is skipped, as it depends on 'first', which is failed\n"
    )
    assert call("logs", "broken", "first").err == "'first' never started: the run is failed\n"


def test_bytes_that_are_no_text_are_shown_as_such(call: Call, storage: Path) -> None:
    folder = finished_run(storage, "done")
    write_log(folder, "only", 1, b"ok \xff\xfe ok\n")
    assert call("logs", "done", "only").out == "ok \ufffd\ufffd ok\n"


@pytest.fixture
def going(storage: Path) -> Iterator[RunFolder]:
    """A run that this process drives."""
    folder = run_folder(storage, "going")
    pid = os.getpid()
    driver = {"host": socket.gethostname(), "pid": pid, "started": process_started(pid)}
    folder.append(record("run_started", run="going", job="j", driver=driver))
    yield folder


def test_following_goes_on_until_the_run_ends(tmp_path: Path, going: RunFolder) -> None:
    command = Command(environment(tmp_path / "state"), tmp_path)
    write_log(going, "only", 1, "first\n")
    with command.start("logs", "going", "only", "-f") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        lines: list[str] = []
        reading = threading.Thread(target=lambda: lines.extend(process.stdout or []))
        reading.start()
        # A character that arrives in two parts is still one.
        second = "zweite Zeile: ü\n".encode()
        write_log(going, "only", 1, second[:-2])
        write_log(going, "only", 1, second[-2:])
        write_log(going, "only", 2, "another attempt\n")
        going.append(record("run_ended", after_s=5, status="finished"))
        reading.join(timeout=20)
        assert process.wait(timeout=20) == 0
    assert "".join(lines) == "zweite Zeile: ü\n==> only, attempt 2 <==\nanother attempt\n"


def test_a_character_read_in_two_parts_is_one(
    storage: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from runner.cli.logs import _Shown

    folder = finished_run(storage, "done")
    shown = _Shown(folder, ["only"])
    for part in ("ü".encode()[:1], "ü".encode()[1:] + b"\n"):
        write_log(folder, "only", 1, part)
        shown.print_new()
    assert capfd.readouterr().out == "ü\n"


def test_following_a_run_whose_driver_is_gone_ends(call: Call, storage: Path) -> None:
    folder = run_folder(storage, "gone")
    driver = {"host": socket.gethostname(), "pid": 2**22 + 1, "started": 1.0}
    folder.append(record("run_started", run="gone", job="j", driver=driver))
    write_log(folder, "only", 1, "last words\n")
    done = call("logs", "gone", "-f")
    assert (done.code, done.out) == (0, "last words\n")
