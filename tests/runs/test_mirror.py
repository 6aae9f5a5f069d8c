"""A run's folder in storage at a URI: who drives it, and what others see of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from runner.errors import RecordsError, StorageError, UsageError
from runner.runs import mirror
from runner.runs.finding import all_runs, driver_alive, find, storage_at
from runner.runs.folder import PLAN, RECORDS, RunFolder
from runner.storage import Remote
from tests.conftest import wait_for
from tests.runs.plans import plan, record

RUN = "job-20261122-154501-3f2a"


@pytest.fixture(params=["file", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    if request.param == "s3":
        return Remote(f"{request.getfixturevalue('bucket')}/deep/runs")
    return Remote(f"file://{tmp_path}/runs")


@pytest.fixture
def folder(storage: Remote) -> RunFolder:
    """As its driver has it."""
    return RunFolder.create(storage, RUN, plan({"a": ()}))


def seen(folder: RunFolder) -> list[str]:
    """The events that somebody else reads."""
    return [each.event for each in RunFolder(folder.path).records()]


def driver(folder: RunFolder, number: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(folder.read(f"driver-{number}.json") or b"null")
    return found


def test_others_see_what_the_driver_wrote_soon_and_all_at_the_end(folder: RunFolder) -> None:
    other = RunFolder(folder.path)
    assert other.plan() == folder.plan() == plan({"a": ()})
    assert other.is_there() and other.records() == []
    folder.append(record("run_started"))
    assert [each.event for each in folder.records()] == ["run_started"]
    wait_for(lambda: seen(folder) == ["run_started"])
    for number in range(500):
        folder.append(record("metrics", "a", points=[["loss", number, 0.5]]))
    folder.append(record("run_ended"))
    folder.release()
    assert len(other.records()) == 502 and seen(folder)[-1] == "run_ended"
    whole = folder.read(RECORDS) or b""
    assert other.read(RECORDS, len(whole) - 5) == whole[-5:]
    assert other.recorded_bytes() == len(whole)


def test_it_is_written_seldom_but_at_once_where_something_ends(
    storage: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "OFTEN_S", 3600.0)
    folder = RunFolder.create(storage, RUN, plan({"a": ()}))
    folder.append(record("progress", "a"))
    assert seen(folder) == []
    folder.append(record("task_ended", "a", status="finished"))
    wait_for(lambda: seen(folder) == ["progress", "task_ended"])
    folder.append(record("progress", "a"))
    folder.flush(60.0)  # as before the process ends at once
    assert seen(folder) == ["progress", "task_ended", "progress"]
    folder.release()


def test_a_run_of_the_same_name_is_not_written_over(folder: RunFolder) -> None:
    with pytest.raises(UsageError, match=f"{RUN} can't be made: it exists already"):
        RunFolder.create(folder.path.parent, RUN, plan({"other": ()}))  # type: ignore[arg-type]
    folder.release()
    assert folder.plan() == plan({"a": ()})


def test_a_wish_to_cancel_reaches_the_driver(folder: RunFolder) -> None:
    assert not folder.cancel_requested()
    RunFolder(folder.path).request_cancel()
    assert RunFolder(folder.path).cancel_requested()
    wait_for(folder.cancel_requested)
    folder.release()
    folder.reopen(folder.plan())  # which takes it back
    assert not RunFolder(folder.path).cancel_requested()
    folder.release()


def test_one_drives_at_a_time(folder: RunFolder) -> None:
    """Drivers are numbered on; who has let go, or is dead, is followed."""
    others = RunFolder(folder.path), RunFolder(folder.path)
    with pytest.raises(UsageError, match="is being resumed already"):
        others[0].reopen(folder.plan())
    folder.append(record("run_started"))
    folder.release()
    others[0].reopen(folder.plan())
    with pytest.raises(UsageError, match="is being resumed already"):
        others[1].reopen(folder.plan())
    others[0].append(record("run_ended"))
    others[0].release()
    assert seen(folder) == ["run_started", "run_ended"]
    assert driver(folder, 2)["is_over"] and driver(folder, 2)["pid"] == os.getpid()
    others[1].reopen(folder.plan())
    others[1].release()
    assert driver(folder, 3)["is_over"]


@pytest.mark.parametrize("host", ["here", "elsewhere"])
def test_a_driver_that_was_killed_is_followed(folder: RunFolder, host: str) -> None:
    folder.append(record("run_started"))
    folder.release()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    about = {
        "host": socket.gethostname() if host == "here" else host,
        "pid": dead.pid,
        "started": 1.0,
        "at_s": time.time(),
        "is_over": False,
    }
    assert isinstance(folder.path, Remote)
    (folder.path / "driver-2.json").write(json.dumps(about).encode())
    (folder.path / RECORDS).write((folder.read(RECORDS) or b"") + b'{"at_s": 2.0, "ev')
    other = RunFolder(folder.path)
    if host == "elsewhere":  # where nobody can look: it gets a minute
        assert driver_alive(RunFolder(folder.path), [])
        with pytest.raises(UsageError, match="is being resumed already"):
            other.reopen(folder.plan())
        about["at_s"] = time.time() - 61
        (folder.path / "driver-2.json").write(json.dumps(about).encode())
        assert not driver_alive(RunFolder(folder.path), [])
    other.reopen(folder.plan())
    other.append(record("run_ended"))
    other.release()
    assert seen(folder) == ["run_started", "run_ended"]


def test_a_driver_that_was_taken_for_dead_stops_and_writes_no_more(folder: RunFolder) -> None:
    folder.append(record("run_started"))
    wait_for(lambda: seen(folder))
    # What somebody does who has waited for a minute.
    number = mirror.Mirror(folder.path)  # type: ignore[arg-type]
    assert number._claim(2)
    folder.append(record("task_ended", "a"))
    wait_for(lambda: not folder.is_there())
    for touch in (folder.cancel_requested, lambda: folder.append(record("heartbeat"))):
        with pytest.raises(RecordsError, match=f"another driver goes on with {RUN}"):
            touch()
    with pytest.raises(RecordsError):
        folder.release()
    assert seen(folder) == ["run_started"]


def test_a_folder_that_is_gone_is_told_and_not_made_anew(folder: RunFolder) -> None:
    assert isinstance(folder.path, Remote)
    folder.path.remove()
    wait_for(lambda: not folder.is_there())
    with pytest.raises(RecordsError, match="is gone: it was moved or removed"):
        folder.append(record("heartbeat"))
    with pytest.raises(RecordsError, match="is gone"):
        folder.release()
    assert folder.path.names() == []
    with pytest.raises(RecordsError, match=f"{PLAN} can't be read"):
        RunFolder(folder.path).plan()


def test_storage_may_be_out_of_reach_for_a_while(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = StorageError("out of reach")

    def refuse(self: Remote) -> list[str]:
        raise said

    monkeypatch.setattr(mirror, "OFTEN_S", 0.01)
    with monkeypatch.context() as outage:
        outage.setattr(Remote, "names", refuse)
        folder.append(record("run_started"))
        folder.append(record("attempt_ended", "a"))
        wait_for(lambda: folder._files._driving._failing_since_s)  # type: ignore[union-attr]
    wait_for(lambda: seen(folder) == ["run_started", "attempt_ended"])
    monkeypatch.setattr(mirror, "SILENCE_S", 0.0)
    with monkeypatch.context() as outage:
        outage.setattr(Remote, "names", refuse)
        folder.append(record("task_ended", "a"))
        wait_for(lambda: not folder.is_there())
        with pytest.raises(StorageError, match="out of reach"):
            folder.append(record("run_ended"))


def test_storage_that_can_not_be_written_is_a_usage_error(bucket: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for storage in (f"{bucket}-not/runs", f"file://{tmp_path}/file/runs"):
        with pytest.raises(UsageError, match="can't be made") as caught:
            RunFolder.create(Remote(storage), RUN, plan({"a": ()}))
        assert f"{storage}/{RUN}" in caught.value.message
        assert caught.value.hint


def test_runs_are_found_by_when_they_were_submitted(storage: Remote, tmp_path: Path) -> None:
    for name in ("b-20261122-100000-aaaa", "a-20261123-090000-bbbb", "b-20261122-110000-cccc"):
        RunFolder.create(storage, name, plan({"a": ()})).release()
    (storage / "notes" / "plan.json").write(b"")  # not a run
    runs = [folder.run for folder in all_runs(storage)]
    assert runs == ["a-20261123-090000-bbbb", "b-20261122-110000-cccc", "b-20261122-100000-aaaa"]
    assert find("latest", storage).run == runs[0]
    assert find("b-20261122-10", storage).path == storage / runs[2]
    assert find(f"{storage}/{runs[1]}", Path("nowhere")).run == runs[1]
    assert storage_at(str(storage), {}) == storage_at(None, {"RUNNER_STORAGE": str(storage)})
    assert storage_at(storage, {}) == storage
