"""Runs that the resident driver of a warm cluster carries out, when who submitted them is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Command, wait_for
from tests.runs.real_runs import LONG, Write, is_gone, running_pid


def test_interrupted_twice_at_once_no_worker_goes_on(warm: Command, spec: Write) -> None:
    with warm.start("submit", spec(LONG)) as process:
        pid = wait_for(lambda: running_pid(warm))
        os.kill(process.pid, signal.SIGSTOP)  # so that both arrive before it can act on one
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGTERM)
        os.kill(process.pid, signal.SIGCONT)
        process.communicate(timeout=5)
    assert process.returncode == 130
    try:
        wait_for(lambda: is_gone(pid), timeout_s=10)
        (row,) = json.loads(warm("list", "--json").out)
        assert row["status"] == "cancelled"
    finally:
        (folder,) = (warm.folder / "runs").iterdir()
        (folder / "cancel").touch()
        wait_for(lambda: is_gone(pid))


def test_a_run_goes_on_when_its_command_is_killed_and_ends_when_it_is_cancelled(
    warm: Command, spec: Write
) -> None:
    with warm.start("submit", spec(LONG)) as process:
        pid = wait_for(lambda: running_pid(warm))
        process.kill()
        process.communicate()
    told = len(warm.records())
    wait_for(lambda: len(warm.records()) > told)
    assert "running" in warm("status", "latest").out
    done = warm("cancel", "latest")
    assert (done.code, "cancelled" in done.out) == (0, True)
    wait_for(lambda: is_gone(pid), timeout_s=10)


@pytest.mark.parametrize("how", ["moved", "removed"])
def test_a_run_whose_folder_is_gone_is_ended_and_told(warm: Command, spec: Write, how: str) -> None:
    with warm.start("submit", spec(LONG)) as process:
        pid = wait_for(lambda: running_pid(warm))
        (folder,) = (warm.folder / "runs").iterdir()
        if how == "moved":
            folder.rename(warm.folder / "elsewhere")
        else:
            # As 'rm -r' does when the worker writes a file in its midst: the folder is left.
            for file in folder.iterdir():
                if file.is_file():
                    file.unlink()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 5
    assert "Traceback" not in out + err
    assert f"{folder} is gone" in err
    wait_for(lambda: is_gone(pid), timeout_s=10)


def test_records_that_were_changed_cancel_the_run(warm: Command, spec: Write) -> None:
    with warm.start("submit", spec(LONG)) as process:
        pid = wait_for(lambda: running_pid(warm))
        (folder,) = (warm.folder / "runs").iterdir()
        with (folder / "records.jsonl").open("a") as file:
            file.write("not a record\n")
        out, err = process.communicate(timeout=60)
    assert process.returncode == 5
    assert "Traceback" not in out + err
    assert "holds a line that is no record" in err
    wait_for(lambda: is_gone(pid), timeout_s=10)


def test_a_run_goes_on_when_nobody_reads_what_it_prints(warm: Command, spec: Write) -> None:
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-m", "runner", "submit", spec(LONG.replace("10000000", "20"))],
        cwd=warm.folder,
        env=dict(warm.environment),
        stdout=writing,
        stderr=writing,
    ) as process:
        os.close(writing)
        os.close(reading)
        assert process.wait(timeout=120) == 0
    assert warm.records()[-1]["data"] == {"status": "finished"}


def test_workers_that_die_are_told_apart(warm: Command, spec: Write) -> None:
    (warm.folder / "mine.py").write_text(
        "import os\n\n\ndef leave():\n    os._exit(3)\n\n\ndef crash():\n    os.abort()\n"
        "\n\ndef interrupt():\n    raise KeyboardInterrupt\n"
    )
    one = """
  {name}:
    kind: train
    model: {{factory: "mine:{name}"}}
    data: {{name: digits}}
    max_steps: 3
    retry: {{max_restarts: 0}}
    resources: {{cpus: 0.1}}
"""
    tasks = "".join(one.format(name=name) for name in ("leave", "crash", "interrupt"))
    done = warm("submit", spec(f"name: dying\ntasks:\n{tasks}"), "--json")
    assert done.code == 1, done.err
    told = json.loads(done.out)["tasks"]
    assert {name: task["status"] for name, task in told.items()} == {
        "leave": "lost",
        "crash": "lost",
        "interrupt": "failed",
    }
    assert "os._exit" in told["leave"]["error"]["message"]
    assert told["leave"]["error"]["hint"]
    assert "aborted (SIGABRT)" in told["crash"]["error"]["message"]
    assert told["crash"]["error"]["frames"][0] == "mine.py:9 in crash: os.abort()"
    assert "Fatal Python error: Aborted" in Path(told["crash"]["error"]["log"]).read_text()
    assert told["interrupt"]["error"]["type"] == "KeyboardInterrupt"
    assert told["interrupt"]["error"]["frames"][0].startswith("mine.py:13 in interrupt")
