"""Runs found again by name, and whether their drivers live."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from runner.cluster.address import process_started
from runner.errors import RunNotFoundError, UsageError
from runner.model import Record
from runner.runs.finding import SILENCE_S, all_runs, driver_alive, find, storage_at
from runner.runs.folder import PLAN, RunFolder
from tests.runs.plans import run_folder

FIRST = "distill-digits-20261122-154501-3f2a"
SECOND = "distill-digits-20261123-090000-aa01"
OTHER = "train-mnist-20261121-120000-beef"


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Three runs, made in the order FIRST, OTHER, SECOND, whatever their names say."""
    folder = tmp_path / "runs"
    for made_at_s, name in ((1000, FIRST), (2000, OTHER), (3000, SECOND)):
        run = run_folder(folder, name)
        os.utime(run.path / PLAN, (made_at_s, made_at_s))
    (folder / "notes").mkdir()  # not a run
    (folder / "stray.txt").write_text("")
    return folder


def test_storage_that_ends_with_its_process_is_refused() -> None:
    with pytest.raises(UsageError, match="in the memory of one process"):
        storage_at("memory://runs", {})


def test_runs_come_the_newest_first_and_nothing_else_does(storage: Path) -> None:
    assert [folder.run for folder in all_runs(storage)] == [SECOND, OTHER, FIRST]
    assert all_runs(storage / "nowhere") == []


@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("latest", SECOND),
        (FIRST, FIRST),
        ("distill-digits-20261122", FIRST),
        ("distill-digits-20261123", SECOND),
        ("t", OTHER),
    ],
)
def test_a_run_is_found_by_name_by_a_beginning_and_as_the_latest(
    storage: Path, name: str, run: str
) -> None:
    assert find(name, storage).run == run


def test_a_whole_name_wins_over_longer_ones_that_begin_with_it(storage: Path) -> None:
    run_folder(storage, f"{OTHER}-again")
    assert find(OTHER, storage).run == OTHER


def test_a_run_is_found_by_its_folder_wherever_that_lies(
    storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = tmp_path / "nowhere"
    assert find(str(storage / OTHER), nowhere).run == OTHER
    monkeypatch.chdir(tmp_path)
    assert find(f"runs/{OTHER}/", nowhere).path == storage / OTHER
    assert find(f"./runs/{OTHER}", nowhere).run == OTHER


def test_a_beginning_that_several_have_names_them(storage: Path) -> None:
    with pytest.raises(RunNotFoundError) as caught:
        find("distill-digits", storage)
    assert caught.value.message == f"2 runs begin with 'distill-digits': {SECOND}, {FIRST}"
    for number in range(6):
        run_folder(storage, f"distill-digits-x{number}")
    with pytest.raises(RunNotFoundError) as caught:
        find("distill-digits", storage)
    assert caught.value.message.startswith("8 runs begin")
    assert caught.value.message.endswith(", ...")
    assert caught.value.message.count("distill-digits-") == 5


def test_of_several_the_one_that_is_running_is_found_for_whoever_wants_that(
    storage: Path,
) -> None:
    with pytest.raises(RunNotFoundError, match="2 runs begin with"):
        find("distill-digits", storage, running=True)  # neither is: made long ago, never driven
    RunFolder(storage / FIRST).append(own())
    assert find("distill-digits", storage, running=True).run == FIRST
    with pytest.raises(RunNotFoundError, match="2 runs begin with"):
        find("distill-digits", storage)
    RunFolder(storage / SECOND).append(own())
    run_folder(storage, "distill-digits-ended").append(own())
    RunFolder(storage / "distill-digits-ended").append(
        Record(at_s=time.time(), event="run_ended", data={"status": "finished"})
    )
    with pytest.raises(RunNotFoundError) as caught:
        find("distill-digits", storage, running=True)
    assert caught.value.message == f"2 running runs begin with 'distill-digits': {SECOND}, {FIRST}"
    # A whole name is that run, running or not.
    assert find("distill-digits-ended", storage, running=True).run == "distill-digits-ended"


def test_storage_is_as_named_or_as_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert storage_at(None, {}) == Path("runs")
    assert storage_at(None, {"RUNNER_STORAGE": "~/kept"}) == tmp_path / "kept"
    assert storage_at("~", {"RUNNER_STORAGE": "other"}) == tmp_path
    assert storage_at(Path("~/x"), {}) == tmp_path / "x"
    assert storage_at("a~b/~", {}) == Path("a~b/~")
    for named in ("~nobody-has-this-name/x", "s4://bucket/runs"):
        with pytest.raises(UsageError, match=named):
            storage_at(named, {})


@pytest.mark.parametrize(
    ("name", "run"),
    [
        (FIRST.replace("3f2a", "3f2b"), FIRST),
        ("train-minst", OTHER),
        ("distil-digits-20261123", SECOND),
        ("lastest", "latest"),
    ],
)
def test_a_near_miss_is_answered_with_the_nearest(storage: Path, name: str, run: str) -> None:
    with pytest.raises(RunNotFoundError, match="begins with") as caught:
        find(name, storage)
    assert caught.value.hint == f"did you mean '{run}'?"


def test_what_is_near_nothing_is_told_where_to_look(storage: Path) -> None:
    with pytest.raises(RunNotFoundError) as caught:
        find("zzz", storage)
    assert "runner list" in caught.value.hint
    with pytest.raises(RunNotFoundError, match=r"no runs in .*nowhere: there is no such folder"):
        find("latest", storage / "nowhere")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return run_folder(tmp_path, "run")


def started(**driver: Any) -> Record:
    return Record(at_s=time.time(), event="run_started", data={"driver": driver})


def own() -> Record:
    return started(host=socket.gethostname(), pid=os.getpid(), started=process_started(os.getpid()))


def test_this_process_is_alive(folder: RunFolder) -> None:
    assert driver_alive(folder, [own()])
    # Its silence says nothing while it can be looked at.
    silent = Record(at_s=time.time() - 10 * SILENCE_S, event="run_started", data=own().data)
    assert driver_alive(folder, [silent])


def test_a_process_that_is_gone_or_a_zombie_is_dead(folder: RunFolder) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        began = process_started(process.pid)
        record = started(host=socket.gethostname(), pid=process.pid, started=began)
        assert driver_alive(folder, [record])
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, but not yet buried
        assert not driver_alive(folder, [record])
    assert not driver_alive(folder, [record])


def test_another_process_under_the_same_number_is_not_the_driver(folder: RunFolder) -> None:
    began = own().data["driver"]["started"]
    earlier = started(host=socket.gethostname(), pid=os.getpid(), started=began - 100)
    assert not driver_alive(folder, [earlier])


@pytest.mark.parametrize(("silent_s", "alive"), [(SILENCE_S / 2, True), (SILENCE_S * 2, False)])
def test_a_driver_on_another_machine_is_judged_by_its_heartbeat(
    folder: RunFolder, silent_s: float, alive: bool
) -> None:
    # Its number means nothing here, even where this machine has a process of that number.
    driver = {**own().data["driver"], "host": "elsewhere"}
    records = [
        Record(at_s=1.0, event="run_started", data={"driver": driver}),
        Record(at_s=time.time() - silent_s, event="heartbeat"),
    ]
    assert driver_alive(folder, records) is alive


def test_a_run_that_was_started_again_is_judged_by_its_last_driver(folder: RunFolder) -> None:
    beyond = 2**22 + 1  # Linux gives no process a number so high
    dead = started(host=socket.gethostname(), pid=beyond, started=1.0)
    assert driver_alive(folder, [dead, own()])
    assert not driver_alive(folder, [own(), dead])


@pytest.mark.parametrize("data", [{}, {"driver": {"host": socket.gethostname()}}, {"driver": 5}])
def test_records_that_do_not_say_who_drives_tell_by_their_age(
    folder: RunFolder, data: dict[str, Any]
) -> None:
    assert driver_alive(folder, [Record(at_s=time.time(), event="run_started", data=data)])
    assert not driver_alive(folder, [Record(at_s=1.0, event="run_started", data=data)])


def test_a_run_without_a_record_is_given_a_minute(folder: RunFolder) -> None:
    assert driver_alive(folder, [])
    long_ago = time.time() - 2 * SILENCE_S
    os.utime(folder.path / PLAN, (long_ago, long_ago))
    assert not driver_alive(folder, [])
