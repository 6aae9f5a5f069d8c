"""list, status, report and cancel on run folders made by hand."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import pytest

from runner.cluster.address import process_started
from runner.model import Record
from runner.runs.folder import PLAN, RECORDS, RunFolder
from tests.cli.calling import Call, call
from tests.conftest import Command
from tests.runs.plans import finished_run, record, run_folder

__all__ = ["call"]


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def going_run(storage: Path, name: str) -> RunFolder:
    """A run that this process drives: one task at work, one that waits."""
    folder = run_folder(storage, name, "first", "second")
    began = process_started(os.getpid())
    driver = {"host": socket.gethostname(), "pid": os.getpid(), "started": began}
    now_s = time.time()
    folder.append(
        Record(at_s=now_s, event="run_started", data={"run": name, "job": "j", "driver": driver})
    )
    folder.append(Record(at_s=now_s, event="attempt_started", task="first", attempt=1))
    about = {"node": "node-1", "environment": {}}
    folder.append(Record(at_s=now_s, event="attempt_running", task="first", attempt=1, data=about))
    return folder


def corrupted_run(storage: Path, name: str) -> RunFolder:
    folder = finished_run(storage, name)
    lines = (folder.path / RECORDS).read_text().splitlines()
    lines[2] = lines[2][:20]
    (folder.path / RECORDS).write_text("\n".join(lines) + "\n")
    return folder


def made_at(folder: RunFolder, at_s: float) -> None:
    os.utime(folder.path / PLAN, (at_s, at_s))


NOTHING = "no runs in runs: there is no such folder"


def test_an_empty_folder_is_told_from_none(call: Call, tmp_path: Path) -> None:
    assert call("list", "--storage", str(tmp_path)).out == f"no runs in {tmp_path}\n"


def test_where_nothing_lies_list_says_so_and_all_else_is_exit_5(call: Call) -> None:
    listed = call("list")
    assert (listed.code, listed.out, listed.err) == (0, f"{NOTHING}\n", "")
    assert json.loads(call("list", "--json").out) == []
    for command in ("status", "report", "logs"):
        done = call(command)
        assert (done.code, done.out) == (5, "")
        assert NOTHING in done.err
        assert "--storage" in done.err
    assert call("cancel", "latest").code == 5


def test_runs_are_listed_the_newest_first(call: Call, storage: Path) -> None:
    made_at(finished_run(storage, "older", "a", "b"), 1000)
    made_at(going_run(storage, "newest"), 3000)
    made_at(run_folder(storage, "between"), 2000)
    rows = [line.split() for line in call("list").out.splitlines()]
    assert [row[0] for row in rows] == ["newest", "between", "older"]
    assert [row[1] for row in rows] == ["running", "lost", "finished"]
    assert [row[2] for row in rows] == ["0/2", "0/1", "2/2"]
    assert [line.split()[0] for line in call("list", "-n", "1").out.splitlines()] == ["newest"]
    data = json.loads(call("list", "--json").out)
    assert [row["run"] for row in data] == ["newest", "between", "older"]
    assert data[2]["tasks"] == {"a": "finished", "b": "finished"}
    assert data[2]["duration_s"] == 12.0
    assert data[0]["ended"] is None
    assert call("list", "-n", "0").code == 2


@pytest.mark.parametrize(
    ("columns", "cells"), [(80, 5), (60, 4), (28, 3), (27, 2), (17, 2), (16, 1), (3, 1)]
)
def test_a_list_is_no_wider_than_the_terminal(
    call: Call, storage: Path, monkeypatch: pytest.MonkeyPatch, columns: int, cells: int
) -> None:
    finished_run(storage, "a-run-1", "a", "b")
    monkeypatch.setenv("COLUMNS", str(columns))
    out = call("list").out.rstrip("\n")
    assert out.startswith("a-run-1") and (len(out) <= columns or out == "a-run-1")
    assert len(out.split("  ")) == cells


def test_the_report_is_no_wider_than_the_terminal(
    call: Call, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished_run(storage, "done", *(f"a-task-called-{number}" for number in range(9)))
    for columns in (50, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        table = [line for line in call("report").out.splitlines() if "accuracy  " in line]
        widest = max(map(len, table))
        assert columns - 20 < widest <= columns
    monkeypatch.delenv("COLUMNS")
    assert max(len(line) for line in call("report").out.splitlines()) <= 80


def test_one_run_that_cannot_be_read_does_not_hide_the_others(call: Call, storage: Path) -> None:
    finished_run(storage, "good")
    corrupted_run(storage, "bad")
    for arguments in (["list"], ["list", "--json"]):
        done = call(*arguments)
        assert done.code == 5
        assert "good" in done.out
        assert "bad" not in done.out
        assert f"{storage / 'bad' / RECORDS}:3 is no record" in done.err
        assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["status", "--json"], ["report"], ["report", "--json"], ["cancel"]],
)
def test_records_that_cannot_be_read_are_exit_5_with_the_line(
    call: Call, storage: Path, arguments: list[str]
) -> None:
    corrupted_run(storage, "bad")
    done = call(*arguments, "bad")
    assert (done.code, done.out) == (5, "")
    assert f"{RECORDS}:3 is no record" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("command", ["status", "report", "logs"])
def test_a_plan_that_cannot_be_read_is_exit_5(call: Call, storage: Path, command: str) -> None:
    folder = finished_run(storage, "bad")
    (folder.path / PLAN).write_text("{}")
    done = call(command, "bad")
    assert (done.code, done.out) == (5, "")
    assert "plan.json is not a plan" in done.err


@pytest.mark.parametrize("command", ["status", "report", "logs", "cancel"])
def test_a_run_that_is_none_is_exit_5_with_the_nearest(
    call: Call, storage: Path, command: str
) -> None:
    finished_run(storage, "distill-digits-1")
    done = call(command, "distil-digits")
    assert (done.code, done.out) == (5, "")
    assert "did you mean 'distill-digits-1'?" in done.err


def test_status_shows_every_task_as_it_stands(call: Call, storage: Path) -> None:
    going_run(storage, "going")
    done = call("status", "going")
    assert done.code == 0
    title, first, second = done.out.splitlines()
    assert title == "going  running"
    assert first.split() == ["first", "running", "on", "node-1"]
    assert second.split() == ["second", "pending"]
    data = json.loads(call("status", "--json").out)
    assert {name: task["status"] for name, task in data["tasks"].items()} == {
        "first": "running",
        "second": "pending",
    }
    assert data["schema"] == 1


def test_a_run_whose_driver_is_gone_is_shown_as_lost(call: Call, storage: Path) -> None:
    folder = run_folder(storage, "gone")
    beyond = 2**22 + 1  # Linux gives no process a number so high
    driver = {"host": socket.gethostname(), "pid": beyond, "started": 1.0}
    folder.append(record("run_started", run="gone", job="j", driver=driver))
    folder.append(record("attempt_started", "only", after_s=1))
    assert call("status").out.splitlines()[0] == "gone  lost"
    assert call("list").out.split()[1] == "lost"
    assert json.loads(call("report", "--json").out)["tasks"]["only"]["status"] == "lost"
    done = call("cancel", "gone")
    assert done.code == 2
    assert "it is lost" in done.err
    assert not folder.cancel_requested()


def test_report_shows_what_it_writes(call: Call, storage: Path) -> None:
    folder = finished_run(storage, "done", "a", "b")
    plain = call("report", "done")
    assert plain.code == 0
    assert "90.0 %" in plain.out
    assert "runs/done/report.html" in plain.out
    assert "\x1b" not in plain.out
    printed = call("report", "done", "--json").out
    assert printed == (folder.path / "report.json").read_text()
    data = json.loads(printed)
    assert (data["run"], data["status"], data["duration_s"]) == ("done", "finished", 12.0)
    assert data["tasks"]["b"]["metrics"] == {"train/loss": 0.25, "test/accuracy": 0.9}
    assert "<html" in (folder.path / "report.html").read_text()
    assert "done" in (folder.path / "report.md").read_text()


def test_where_no_browser_is_report_says_where_its_page_lies(command: Command) -> None:
    folder = finished_run(command.folder / "runs", "done")
    gone = {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"}
    kept = {key: value for key, value in command.environment.items() if key not in gone}
    command.environment = {**kept, "PATH": str(command.folder)}
    done = command("report", "done", "--open")
    assert done.code == 0
    page = folder.path / "report.html"
    assert done.err == f"no browser can be opened here; the report is {page}\n"


def test_report_opens_its_page_in_a_browser(command: Command) -> None:
    folder = finished_run(command.folder / "runs", "done")
    browser, opened = command.folder / "browser", command.folder / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}\n')
    browser.chmod(0o755)
    command.environment = {**command.environment, "BROWSER": f"{browser} %s"}
    done = command("report", "done", "--open")
    assert (done.code, done.err) == (0, "")
    assert opened.read_text() == (folder.path / "report.html").as_uri() + "\n"


def test_a_run_is_named_by_its_folder_and_storage_by_option_or_environment(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished_run(tmp_path / "elsewhere", "done")
    assert call("status", "done").code == 5
    assert call("status", "elsewhere/done").out.startswith("done  finished")
    assert call("status", "--storage", "elsewhere").out.startswith("done  finished")
    monkeypatch.setenv("RUNNER_STORAGE", "elsewhere")
    assert call("status", "d").out.startswith("done  finished")
    remote = call("list", "--storage", "s4://bucket/runs")
    assert remote.code == 2
    assert "URI" in remote.err


@pytest.mark.parametrize("status", ["finished", "failed", "cancelled"])
def test_what_has_ended_is_not_cancelled(call: Call, storage: Path, status: str) -> None:
    folder = finished_run(storage, "done")
    folder.append(record("run_ended", after_s=13, status=status))
    done = call("cancel", "done")
    assert (done.code, done.out) == (2, "")
    assert f"done is not running: it is {status}" in done.err
    assert not folder.cancel_requested()
