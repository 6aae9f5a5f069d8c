"""runner resume: what is finished stays so, the rest goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from runner.errors import UsageError
from runner.model import Record
from runner.runs.finding import ended_as
from runner.runs.folder import RunFolder
from runner.runs.schedule import Before, Schedule, Start
from tests.conftest import Command, wait_for
from tests.runs.plans import plan
from tests.runs.real_runs import RESUMABLE, Write, report


def checkpoints(command: Command) -> list[Path]:
    return list((command.folder / "runs").glob("*/second/1/checkpoints/step-*"))


def is_under_way(command: Command) -> bool:
    """Whether there is a checkpoint to go on from, and points of before it have been told."""
    points = [
        name
        for record in command.records()
        if record["event"] == "metrics" and record["task"] == "second"
        for name, _, _ in record["data"]["points"]
    ]
    return bool(checkpoints(command)) and "train/loss" in points


def test_finished_tasks_stay_and_attempts_are_numbered_on() -> None:
    before = {"a": Before(attempts=2, is_finished=True), "b": Before(attempts=3)}
    schedule = Schedule(plan({"a": (), "b": ("a",), "c": ("b",)}, max_restarts=1), before)
    assert schedule.begin() == [Start("b", 4)]
    assert schedule.ended("b", "lost", None) == [Start("b", 5)]
    assert schedule.ended("b", "finished", None)[-1] == Start("c", 1)


@pytest.mark.parametrize("end", ["cancelled", "lost"])
def test_a_run_goes_on_where_it_was(warm: Command, spec: Write, end: str) -> None:
    with warm.start("submit", spec(RESUMABLE)) as process:
        wait_for(lambda: is_under_way(warm))
        if end == "cancelled":
            process.send_signal(signal.SIGINT)
        else:
            (pid,) = (
                record["data"]["pid"]
                for record in warm.records()
                if record["event"] == "attempt_running" and record["task"] == "second"
            )
            os.kill(pid, signal.SIGKILL)
        process.communicate(timeout=60)
    assert process.returncode == {"cancelled": 130, "lost": 1}[end]
    assert checkpoints(warm)  # what is not finished keeps them
    if end == "lost":
        spec(RESUMABLE.replace("6000", "6100"))
    done = warm("resume")
    assert done.code == 0, done.err
    assert ("job.yaml has changed since; what was submitted" in done.err) == (end == "lost")
    tasks = report(warm)["tasks"]
    assert [tasks[name]["status"] for name in ("first", "second")] == ["finished", "finished"]
    assert [tasks[name]["attempts"] for name in ("first", "second")] == [1, 2]
    assert tasks["second"]["metrics"]["checkpoint/resumed_at_step"] >= 100
    steps = [step for step, _ in tasks["second"]["series"]["train/loss"]]
    assert steps == sorted(steps) and steps[0] <= 100 and steps[-1] == 6000
    assert not list((warm.folder / "runs").glob("*/second/*/checkpoints"))
    again = warm("resume")
    assert again.code == 2 and "nothing is left to resume" in again.err


def test_what_a_killed_driver_wrote_last_is_cut_off(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "torn", plan({"a": ()}))
    folder.append(Record(at_s=1.0, event="heartbeat"))
    with (folder.path / "records.jsonl").open("a") as file:
        file.write('{"at_s": 2.0, "ev')
    folder.request_cancel()
    folder.reopen(folder.plan())
    folder.append(Record(at_s=3.0, event="heartbeat"))
    assert [record.at_s for record in folder.records()] == [1.0, 3.0]
    assert not folder.cancel_requested()


def test_a_run_that_is_going_can_not_be_resumed(warm: Command, spec: Write) -> None:
    with warm.start("submit", spec(RESUMABLE)) as process:
        wait_for(lambda: checkpoints(warm))
        refused = warm("resume")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert refused.code == 2 and "is still running" in refused.err


def test_no_such_run(warm: Command) -> None:
    assert warm("resume", "nothing").code == 5


def test_only_one_can_resume_a_run(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "run", plan({"a": ()}))
    folder.reopen(folder.plan())
    other = RunFolder(folder.path)
    with pytest.raises(UsageError, match="is being resumed already"):
        other.reopen(folder.plan())
    folder.release()
    other.reopen(folder.plan())
    other.release()


def test_a_run_that_goes_on_has_not_ended() -> None:
    def record(event: str, **data: Any) -> Record:
        return Record(at_s=1.0, event=event, data=data)

    first = [record("run_started"), record("run_ended", status="cancelled")]
    assert ended_as([]) is None
    assert ended_as(first[:1]) is None
    assert ended_as(first) == "cancelled"
    assert ended_as([*first, record("run_started"), record("heartbeat")]) is None


def test_a_resumed_run_can_be_cancelled(warm: Command, spec: Write) -> None:
    with warm.start("submit", spec(RESUMABLE.replace("6000", "600000"))) as process:
        wait_for(lambda: checkpoints(warm))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    with warm.start("resume") as process:
        wait_for(lambda: list((warm.folder / "runs").glob("*/second/2/checkpoints/step-*")))
        refused = warm("resume")
        assert refused.code == 2 and "is still running" in refused.err
        cancelled = warm("cancel", "latest")
        assert cancelled.code == 0, cancelled.err
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    # Of the first time nothing is told again, but for why there is another attempt.
    told = [text.partition("] ")[2] for text in err.splitlines() if text.startswith("[")]
    assert told[0] == "second: attempt 1 was cancelled; attempt 2 starts"
    assert any(text.startswith("second: attempt 2 goes on from step ") for text in told)
