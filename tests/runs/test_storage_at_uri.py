"""Whole runs in storage at a URI, by the commands: on S3's own protocol, and on file:// where what
is tested does not depend on the store.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from runner.model import Order
from runner.storage import Remote
from runner.worker.wire import order_to_json
from tests.conftest import Command, environment, wait_for
from tests.runs.real_runs import CHAIN, LONG, RESUMABLE, Write, report, running_pid
from tests.runs.test_gangs import TWO, kill_a_rank, weights

DISTILL = """\
name: small
tasks:
  teacher:
    kind: train
    model: {factory: "mine:make"}
    data: {name: digits}
    max_steps: 40
    checkpoint: {every_steps: 15}
  student:
    kind: distill
    teacher: ${tasks.teacher.outputs.model}
    model: {name: mlp, args: {hidden: [8]}}
    data: {name: digits}
    max_steps: 20
"""

MINE = """\
from torch import nn

def make(input_shape):
    print("a word of the user's code")
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""


@pytest.fixture
def remote(warm: Command) -> Command:
    """The warm command, its storage at a URI below its folder."""
    return Command(
        {**warm.environment, "RUNNER_STORAGE": f"file://{warm.folder}/runs"}, warm.folder
    )


@pytest.fixture
def on_s3(bucket: str, s3_server: Mapping[str, str], tmp_path: Path) -> Iterator[Command]:
    """The command on a cluster of its own, its storage in a bucket, with a TMPDIR of its own."""
    with tempfile.TemporaryDirectory() as scratch:  # Ray's sockets are not to be far down
        more = {"RUNNER_STORAGE": f"{bucket}/runs", "TMPDIR": scratch}
        yield Command(environment(tmp_path / "state", **s3_server, **more), tmp_path)


def test_a_run_on_s3_and_every_command_that_reads_it(on_s3: Command, spec: Write) -> None:
    storage = Remote(on_s3.environment["RUNNER_STORAGE"])
    (on_s3.folder / "mine.py").write_text(MINE)
    done = on_s3("submit", spec(DISTILL))
    assert done.code == 0, done.out + done.err
    (run,) = storage.names()
    assert f"report  {storage}/{run}/report.html" in done.out
    files = (storage / run).sizes()
    assert sorted(
        name for name in files if "/code/" not in name and not name.startswith("report")
    ) == [
        "driver-1.json",
        "plan.json",
        "records.jsonl",
        "student/1/log.txt",
        "student/1/model/model.json",
        "student/1/model/model.safetensors",
        "teacher/1/log.txt",
        "teacher/1/model/model.json",
        "teacher/1/model/model.safetensors",
    ]
    assert (storage / run / "teacher" / "1" / "code" / "mine.py").read() == MINE.encode()
    # What the workers had on their disks is gone with them, and there was nothing else.
    wait_for(lambda: not list(Path(on_s3.environment["TMPDIR"]).iterdir()))
    assert sorted(each.name for each in on_s3.folder.iterdir() if each.is_file()) == [
        "job.yaml", "mine.py",
    ]  # fmt: skip

    elsewhere = Command(on_s3.environment, on_s3.folder.parent)
    (listed,) = json.loads(elsewhere("list", "--json").out)
    assert (listed["run"], listed["status"]) == (run, "finished")
    assert f"{run}  finished" in elsewhere("status").out
    logged = elsewhere("logs", run, "teacher").out
    assert "a word of the user's code" in logged and logged.endswith("finished\n")
    shown = json.loads(elsewhere("report", "--json").out)
    kept = shown["tasks"]["teacher"]["artifacts"]["model"]
    assert kept["path"] == f"{storage}/{run}/teacher/1/model"
    sizes = Remote(kept["path"]).sizes()
    assert kept["bytes"] == sum(sizes.values())
    assert elsewhere("resume").code == 2  # nothing is left to do
    refused = elsewhere("cancel", run)
    assert refused.code == 2 and "it is finished" in refused.err


def test_a_model_is_named_by_its_uri_in_a_run_whose_storage_is_a_folder(
    remote: Command, spec: Write
) -> None:
    first = remote("submit", spec(CHAIN))
    assert first.code == 0, first.err
    kept = report(remote)["tasks"]["first"]["artifacts"]["model"]["path"]
    assert kept.startswith("file:///")
    check = f"""\
name: check
tasks:
  check:
    kind: evaluate
    model: {kept}
    data: {{name: digits}}
"""
    again = remote("submit", spec(check), "--storage", "other", "--json")
    assert again.code == 0, again.err
    measured = json.loads(again.out)["tasks"]["check"]["metrics"]
    for name in ("test/accuracy", "test/loss"):
        assert measured[name] == report(remote)["tasks"]["second"]["metrics"][name]
    (attempt,) = (remote.folder / "other").glob("*/check/1")
    assert [path.name for path in attempt.iterdir()] == ["log.txt"]
    gone = remote("submit", spec(check.replace("/first/1/", "/first/7/")))
    assert gone.code == 1 and f"nothing lies at {kept}".replace("/1/", "/7/") in gone.out


def test_storage_that_can_not_be_written_costs_no_time(on_s3: Command, spec: Write) -> None:
    bucket = on_s3.environment["RUNNER_STORAGE"].removesuffix("/runs")
    refused = on_s3("submit", spec(CHAIN), "--storage", f"{bucket}-not/runs")
    assert refused.code == 2
    assert "can't be made" in refused.err and "bucket does not exist" in refused.err
    assert "hint: " in refused.err and "Traceback" not in refused.err
    unknown = on_s3("list", "--storage", "s4://bucket")
    assert unknown.code == 2 and "Protocol not known: s4" in unknown.err


@pytest.mark.slow  # botocore asks for credentials again and again
def test_a_worker_that_can_not_write_storage_says_so(on_s3: Command, spec: Write) -> None:
    """It trains for hours otherwise, for nothing."""
    there = spec(LONG.replace("kind: train", 'kind: train\n    env: {AWS_ACCESS_KEY_ID: ""}'))
    done = on_s3("submit", there)
    assert done.code == 1
    assert "can't be written" in done.out and "hint" in done.out
    assert f"{on_s3.environment['RUNNER_STORAGE']}/long-" in done.out


@pytest.mark.slow  # tests/runs/test_gangs.py has it on a disk
def test_a_killed_rank_changes_no_bit_of_what_its_gang_trains(remote: Command, spec: Write) -> None:
    file = spec(TWO.replace("STEPS", "800").replace("every_steps: 20", "every_steps: 40"))
    kill_a_rank(remote, file, 1, after_step=80)
    killed = weights(remote, 2)
    (remote.folder / "runs").rename(remote.folder / "killed")
    assert remote("submit", file).code == 0
    assert weights(remote, 1) == killed
    (log,) = (remote.folder / "killed").glob("*/model/1/log-1.txt")
    assert log.read_text().endswith("the worker process has ended\n")  # by another's word
    assert not list((remote.folder / "runs").glob("*/model/*/checkpoints/step-*"))


def test_it_is_cancelled_from_elsewhere(remote: Command, spec: Write) -> None:
    with remote.start("submit", spec(LONG)) as process:
        wait_for(lambda: running_pid(remote))
        cancelled = remote("cancel", "latest")
        _, err = process.communicate(timeout=60)
    assert (cancelled.code, process.returncode) == (0, 130), err
    assert cancelled.out.endswith("cancelled\n")
    assert report(remote)["status"] == "cancelled"


def test_a_run_goes_on_after_its_driver_was_killed(command: Command, spec: Write) -> None:
    storage = f"file://{command.folder}/runs"
    longer = RESUMABLE.replace("6000", "20000").replace("every_steps: 100", "every_steps: 1000")
    written = "*/second/1/checkpoints/step-*/checkpoint.json"
    with command.start("submit", spec(longer), "--storage", storage) as process:
        wait_for(lambda: list((command.folder / "runs").glob(written)))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
    # The end of the second attempt to go was not written down: as if the kill had come sooner.
    (records,) = (command.folder / "runs").glob("*/records.jsonl")
    lines = records.read_text().splitlines(keepends=True)
    known = [line for line in lines if '"task": "second"' not in line]
    records.write_text("".join(known))
    done = command("resume", "--storage", storage)
    assert done.code == 0, done.err
    tasks = report(command)["tasks"]
    assert {name: each["status"] for name, each in tasks.items()} == {
        "first": "finished", "second": "finished",
    }  # fmt: skip
    # The attempt that nobody wrote of is not written over, and its checkpoint is taken up.
    assert (records.parent / "second" / "2" / "model").is_dir()
    assert not (records.parent / "second" / "1" / "model").exists()
    assert tasks["second"]["metrics"]["checkpoint/resumed_at_step"] >= 1000
    drivers = {path.name for path in records.parent.glob("driver-*.json")}
    assert drivers == {"driver-1.json", "driver-2.json"}


def test_how_a_worker_crashed_is_told_although_its_log_was_on_its_disk(
    remote: Command, spec: Write
) -> None:
    (remote.folder / "mine.py").write_text("import os\n\n\ndef make():\n    os.abort()\n")
    crashing = DISTILL.replace("kind: train", "kind: train\n    retry: {max_restarts: 0}")
    done = remote("submit", spec(crashing))
    assert done.code == 1
    error = report(remote)["tasks"]["teacher"]["error"]
    assert error["message"] == "the worker process crashed: aborted (SIGABRT)"
    assert error["frames"][0].startswith("mine.py:5 in make") and error["user_frames"] == 1
    assert re.fullmatch(r"file://.*/runs/small-.*/teacher/1/log\.txt", error["log"])


@pytest.mark.parametrize("writable", [True, False])
def test_one_attempt_without_ray(tmp_path: Path, writable: bool) -> None:
    folder = f"file://{tmp_path}/store/task/1"
    if not writable:
        (tmp_path / "store").write_text("in the way")
    params = {"model": {"name": "mlp"}, "data": {"name": "digits"}, "max_steps": 10,
              "checkpoint": {"every_steps": 5}}  # fmt: skip
    order = Order(
        run="r", task="task", attempt=1, kind="train", params=params, folder=folder, seed=0,
        device="cpu", threads=1, ready_at_s=0.0,
    )  # fmt: skip
    (tmp_path / "order.json").write_text(order_to_json(order))
    (tmp_path / "tmp").mkdir()
    ended = subprocess.run(
        [sys.executable, "-m", "runner.worker", "order.json"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    last = json.loads(ended.stdout.splitlines()[-1])["data"]
    assert not list((tmp_path / "tmp").iterdir())
    if writable:
        assert (ended.returncode, last["status"]) == (0, "finished"), ended.stderr
        found = sorted(path.name for path in (tmp_path / "store" / "task" / "1").iterdir())
        assert found == ["checkpoints", "model"]
    else:
        assert (ended.returncode, last["status"]) == (1, "failed")
        assert last["error"]["message"].startswith(f"{folder}/checkpoints can't be listed: ")
