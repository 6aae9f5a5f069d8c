"""A run's folder in storage at a URI: who drives it, and what others see of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from runner.cli import interrupt
from runner.cluster.gang import Gone, _how_lost
from runner.errors import RecordsError, StorageError, UsageError
from runner.runs import mirror
from runner.runs.driver import _Driver
from runner.runs.finding import all_runs, driver_alive, find, storage_at
from runner.runs.folder import PLAN, RECORDS, RunFolder
from runner.runs.ranks import Ranks
from runner.runs.resuming import forget
from runner.storage import Remote
from runner.worker.courier import LAST_WORD
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
    assert number._claim(2) is not None
    folder.append(record("task_ended", "a"))
    wait_for(lambda: not folder.is_there())
    for touch in (folder.cancel_requested, lambda: folder.append(record("heartbeat"))):
        with pytest.raises(RecordsError, match=f"another driver goes on with {RUN}"):
            touch()
    with pytest.raises(RecordsError):
        folder.release()
    assert seen(folder) == ["run_started"]


def test_of_two_who_claim_it_where_nothing_is_exclusive_one_sees_that_it_lost(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system that writes over what ``create`` should have found."""
    folder.release()
    claimed: list[bytes] = []

    def overtaken(self: Remote, data: bytes) -> bool:
        claimed.append(data)
        self.write(b'{"host": "elsewhere"}')
        return True

    with monkeypatch.context() as lax:
        lax.setattr(Remote, "create", overtaken)
        with pytest.raises(UsageError, match="is being resumed already"):
            RunFolder(folder.path).reopen(folder.plan())
    assert isinstance(folder.path, Remote)
    (folder.path / "driver-2.json").remove()
    first = RunFolder(folder.path)
    first.reopen(folder.plan())
    (folder.path / "driver-2.json").write(claimed[0])  # who looked before, and wrote later
    first.append(record("task_ended", "a"))
    wait_for(lambda: not first.is_there())
    with pytest.raises(RecordsError, match=f"another driver goes on with {RUN}"):
        first.append(record("heartbeat"))
    with pytest.raises(RecordsError):
        first.release()
    assert seen(folder) == []


def test_a_claim_whose_answer_was_lost_is_known_by_what_it_says(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that then repeats the request is told that the file is there."""
    folder.release()

    def repeated(self: Remote, data: bytes) -> bool:
        self.write(data)
        return False

    monkeypatch.setattr(Remote, "create", repeated)
    again = RunFolder(folder.path)
    again.reopen(folder.plan())
    assert again.may_append
    again.release()


def test_records_are_written_by_nobody_but_the_driver(folder: RunFolder) -> None:
    other = RunFolder(folder.path)
    assert folder.may_append and not other.may_append
    with pytest.raises(RecordsError, match=f"only its driver writes the records of {RUN}"):
        other.append(record("run_ended"))
    folder.release()
    assert seen(folder) == []


@pytest.mark.parametrize("drives", [True, False])
def test_who_ends_at_once_marks_the_run_only_as_its_driver(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, drives: bool
) -> None:
    class Over(BaseException):
        pass

    def end(code: int) -> None:
        raise Over

    monkeypatch.setattr(os, "_exit", end)
    interrupts = interrupt.Interrupts(Event())
    interrupts.cancelled.set()
    held = folder if drives else RunFolder(folder.path)
    interrupts.of(held, None)  # type: ignore[arg-type]
    with pytest.raises(Over) as caught:
        interrupts.handle(2, None)
    assert caught.value.__context__ is None  # nothing went wrong before that
    assert seen(folder) == (["run_ended"] if drives else [])
    assert RunFolder(folder.path).cancel_requested()
    folder.release()


def test_an_outage_costs_no_more_than_a_log_and_some_room(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(folder.path, Remote)
    log, checkpoint = folder.path / "a/1/log.txt", folder.path / "a/1/checkpoints/step-1"
    log.write(b"its last words\n" + LAST_WORD)
    checkpoint.write(b"")
    asked = list[Remote]()

    def refuse(self: Remote, *args: object) -> None:
        asked.append(self)
        raise StorageError("out of reach")

    def refuse_once(self: Remote) -> int | None:
        monkeypatch.setattr(Remote, "size", size)
        raise StorageError("out of reach")

    size = Remote.size
    with monkeypatch.context() as outage:
        for name in ("names", "size", "read", "remove"):
            outage.setattr(Remote, name, refuse)
        outage.setattr(mirror, "LOG_S", 0.0)
        assert folder.end_of_log("a/1/log.txt", 100, may_come=True) == b""
        forget(folder, "a")
        assert {log, folder.path / "a"} <= set(asked)
    monkeypatch.setattr(Remote, "size", refuse_once)
    assert folder.end_of_log("a/1/log.txt", 100, may_come=True).startswith(b"its last words")
    assert checkpoint.exists()
    forget(folder, "a")
    assert not checkpoint.exists()
    folder.release()


@pytest.mark.parametrize("with_node", [True, False])
def test_the_log_of_a_worker_whose_node_is_lost_is_not_waited_for(
    storage: Remote, monkeypatch: pytest.MonkeyPatch, with_node: bool
) -> None:
    folder = RunFolder.create(storage, RUN, planned := plan({"a": ()}))
    waited = list[float]()
    monkeypatch.setattr(mirror, "time", Clock(waited))
    nothing = lambda: None  # noqa: E731
    driver = _Driver(planned, folder, 0.0, {}, None, print, Event(), {}, nothing)  # type: ignore[arg-type]
    driver.schedule.begin()
    monkeypatch.setattr(driver, "act", lambda actions: None)  # there is no cluster
    gang: Any = SimpleNamespace(task="a", attempt=1, stop=nothing)
    driver.gangs["a"], driver.ranks["a"] = gang, Ranks(1)
    driver.take(Gone(gang, 0, "it was lost", with_node=with_node))
    assert bool(waited) == (not with_node)
    monkeypatch.undo()
    ended = folder.records()[0]
    assert (ended.event, ended.data["status"]) == ("attempt_ended", "lost")
    folder.release()


def test_a_loss_says_whether_the_node_went_too() -> None:
    node = "Task failed because the node it was running on is dead or unavailable: node 1 died"
    worker = "The worker died unexpectedly. Worker exit type: SYSTEM_ERROR on node 1"
    memory = "Task was killed due to the node running out of memory; the worker died"
    told = [_how_lost(Exception(said)) for said in (node, worker, memory)]
    assert [with_node for _, _, with_node in told] == [True, False, False]


class Clock:
    """The module ``time``, for which to sleep takes none and is noted."""

    time = staticmethod(time.time)

    def __init__(self, slept: list[float]) -> None:
        self.slept = slept

    def monotonic(self) -> float:
        return time.monotonic() + sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


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
