"""What an attempt's processes kept for themselves is gone once it has been ended from outside."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.conftest import Command, wait_for
from tests.runs.plans import run_folder
from tests.runs.real_runs import LONG, Write, report


def running(command: Command) -> dict[str, int]:
    """The worker's process id of each task that is at work."""
    return {
        record["task"]: record["data"]["pid"]
        for record in command.records()
        if record["event"] == "attempt_running"
    }


@pytest.mark.parametrize("end", ["interrupted", "cancelled", "killed"])
def test_hidden_folders_of_an_attempt_that_was_ended_are_removed(
    warm: Command, spec: Write, end: str
) -> None:
    text = LONG.replace("max_steps: 10000000", "max_steps: 10000000\n    retry: {max_restarts: 0}")
    with warm.start("submit", spec(text)) as process:
        workers = wait_for(lambda: running(warm))
        (run,) = (warm.folder / "runs").iterdir()
        attempt = run / "long" / "1"
        # As quantizing and asking a served model leave them when they are killed.
        for name in (".tried-x", ".serving-x"):
            (attempt / name / "inside").mkdir(parents=True)
            (attempt / name / "inside" / "answers.npy").write_bytes(b"1")
        (attempt / "made").mkdir()
        if end == "interrupted":
            process.send_signal(signal.SIGINT)
        elif end == "cancelled":
            assert warm("cancel", run.name).code == 0
        else:
            os.kill(workers["long"], signal.SIGKILL)
        process.communicate(timeout=60)
    status = report(warm)["tasks"]["long"]["status"]
    assert status == ("lost" if end == "killed" else "cancelled")
    assert sorted(path.name for path in attempt.iterdir()) == ["log.txt", "made"]


def test_what_is_not_hidden_and_other_attempts_are_left(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "run")
    kept = ["a/1/model", "a/1/checkpoints/.step-1", "a/2/.tried-1", "b/1/.tried-1"]
    for name in [*kept, "a/1/.tried-1/deep"]:
        (tmp_path / "run" / name).mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "run" / "a" / "1" / ".link").symlink_to(elsewhere, target_is_directory=True)
    folder.forget_scratch("a/1")
    folder.forget_scratch("a/9")
    assert all((tmp_path / "run" / name).is_dir() for name in kept)
    assert not (tmp_path / "run" / "a" / "1" / ".tried-1").exists()
    assert elsewhere.is_dir()
