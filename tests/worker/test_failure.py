"""An exception as data: the user's own frames first, and the traceback on standard error."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.errors import OutOfMemory, TaskError
from runner.worker.failure import crash, failure

HELPER = """\
import json


def parse(text):
    if text:
        return json.loads(text)
"""
MINE = """\
import helper


def make(text):
    return helper.parse(text)
"""


def raised(call: Any) -> BaseException:
    try:
        call()
    except Exception as error:
        return error
    pytest.fail("it did not raise")


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "failing_mine.py").write_text(MINE.replace("helper", "failing_helper"))
    (tmp_path / "failing_helper.py").write_text(HELPER)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("failing_mine", "failing_helper"):
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
    return tmp_path


class UnavailableError(Exception):
    """As TensorFlow raises it, which is not installed here."""

    __module__ = "tensorflow.python.framework.errors_impl"


@pytest.mark.parametrize(
    ("message", "is_by_others"),
    [
        ("Collective ops is aborted by: Error reported from /job:worker/task:1", True),
        ("Collective has timed out waiting for other workers.", True),
        ("failed to connect to all addresses", False),
    ],
)
def test_what_tensorflow_says_of_another_rank_is_no_fault_of_this_one(
    message: str, is_by_others: bool
) -> None:
    told = failure(UnavailableError(f"Graph execution error:\n\n{message}\n"), None)
    assert told.get("by_others", False) is is_by_others
    assert ("another rank" in told["hint"]) is is_by_others


def test_an_error_of_ours_has_the_users_frames_of_its_cause_and_no_others(workdir: Path) -> None:
    mine = importlib.import_module("failing_mine")

    def call(text: str) -> None:
        try:
            mine.make(text)
        except ValueError as error:
            raise TaskError("it can't be read", hint="mend it") from error

    told = failure(raised(lambda: call("{")), str(workdir))
    assert (told["type"], told["message"], told["hint"]) == (
        "TaskError",
        "it can't be read",
        "mend it",
    )
    assert told["frames"] == [
        "failing_helper.py:6 in parse: return json.loads(text)",
        "failing_mine.py:5 in make: return failing_helper.parse(text)",
    ]
    assert told["user_frames"] == 2
    assert failure(raised(lambda: call("{")), None)["frames"] == []


def test_the_users_frames_come_first_and_innermost(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = importlib.import_module("failing_mine")
    error = raised(lambda: mine.make("{not json"))
    data = failure(error, str(workdir))
    assert data["type"] == "JSONDecodeError"
    assert data["frames"][:2] == [
        "failing_helper.py:6 in parse: return json.loads(text)",
        "failing_mine.py:5 in make: return helper.parse(text)".replace("helper", "failing_helper"),
    ]
    assert data["user_frames"] == 2
    others = data["frames"][2:]
    assert others[0].startswith(json.decoder.__file__)  # then all others, innermost first too
    assert "raised" in others[-1]
    assert "in make" in capsys.readouterr().err


def test_without_a_folder_of_the_users_the_innermost_frame_comes_first(workdir: Path) -> None:
    mine = importlib.import_module("failing_mine")
    data = failure(raised(lambda: mine.make("{")), None)
    assert data["user_frames"] == 0
    assert data["frames"][0].startswith(json.decoder.__file__)
    assert any(frame.startswith(str(workdir / "failing_mine.py")) for frame in data["frames"])


def test_a_line_that_ends_in_a_colon_is_shown_whole(workdir: Path) -> None:
    (workdir / "failing_helper.py").write_text(
        "def parse(text):\n    for each in text:\n        pass\n"
    )
    mine = importlib.import_module("failing_mine")
    data = failure(raised(lambda: mine.make(None)), str(workdir))
    assert data["frames"][0] == "failing_helper.py:2 in parse: for each in text:"


def test_a_module_that_does_not_compile_names_its_line(workdir: Path) -> None:
    (workdir / "failing_mine.py").write_text("x = 1\ndef make(:\n")
    data = failure(raised(lambda: importlib.import_module("failing_mine")), str(workdir))
    assert data["type"] == "SyntaxError"
    assert "failing_mine.py, line 2" in data["message"]


def test_an_error_is_json_whatever_it_says(workdir: Path) -> None:
    class OddError(Exception):
        def __str__(self) -> str:
            return "\x1b[31m\ud800 odd"

    def raise_odd() -> None:
        raise OddError

    data = failure(raised(raise_odd), str(workdir))
    assert json.loads(json.dumps(data)) == data
    assert data["message"] == "\x1b[31m\ud800 odd"


CRASH = """\
import faulthandler, sys
sys.path.insert(0, sys.argv[1])
print("some output of the task's", file=sys.stderr, flush=True)
faulthandler.enable(all_threads=False)
import dying
dying.make()
"""


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "segmentation fault (SIGSEGV)"),
        ("os.abort()", "aborted (SIGABRT)"),
    ],
)
def test_a_crash_is_told_by_its_signal_and_the_users_frames(
    tmp_path: Path, code: str, message: str
) -> None:
    code_folder, log = tmp_path / "code", tmp_path / "log.txt"
    code_folder.mkdir()
    (code_folder / "dying.py").write_text(
        f"import os, signal\n\n\ndef inner():\n    {code}\n\n\ndef make():\n    inner()\n"
    )
    with log.open("wb") as file:
        subprocess.run(
            [sys.executable, "-c", CRASH, str(code_folder)], stderr=file, check=False, timeout=60
        )
    told = crash(log.read_bytes(), f"{tmp_path.name}/code")
    assert told is not None
    assert told["message"] == f"the worker process crashed: {message}"
    assert told["frames"][:2] == [f"dying.py:5 in inner: {code}", "dying.py:9 in make: inner()"]
    assert told["user_frames"] == 2


def test_a_log_without_a_crash_tells_of_none() -> None:
    assert crash(b"", "run/task/1/code") is None
    log = b"\xff\x00 Fatal Python error: in the midst of a line\n" * 5000
    assert crash(log, "run/task/1/code") is None


def test_out_of_memory_says_with_how_many_samples() -> None:
    error = OutOfMemory("cuda:0 ran out of memory", rows=32, hint="take less")
    assert failure(error, None) == {
        "type": "OutOfMemory",
        "message": "cuda:0 ran out of memory",
        "hint": "take less",
        "frames": [],
        "rows": 32,
    }
    assert "rows" not in failure(TaskError("no such file"), None)
