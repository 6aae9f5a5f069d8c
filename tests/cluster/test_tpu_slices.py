"""TPU slices as Ray's labels show them: each goes to one task as a whole, or to none."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from tests.cluster.conftest import Imitated
from tests.conftest import REPOSITORY, Command, environment

WAIT_S = 60
WHERE = ("TPU_NAME", "TPU_WORKER_ID", "TPU_TOPOLOGY", "TPU_VISIBLE_CHIPS")

# Notes where it runs, then waits for a file of its task's name.
GATE = f"""\
import json, os, time
from pathlib import Path

import numpy as np


def data(folder, name):
    about = {{name: os.environ.get(name) for name in {WHERE}}}
    noted = Path(folder, f"{{name}}-{{os.getpid()}}.json")
    noted.with_suffix(".part").write_text(json.dumps(about))
    noted.with_suffix(".part").rename(noted)
    until = time.monotonic() + {WAIT_S}
    while not Path(folder, f"{{name}}.open").exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
    y = np.arange(32) % 2
    return x[:24], y[:24], x[24:], y[24:]
"""


@pytest.fixture
def command(sliced: Imitated, tmp_path: Path) -> Command:
    return Command(environment(tmp_path / "state", **sliced.variables), tmp_path)


class Driven:
    """A job on the slices: its records as they come, and what its workers noted."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process, self.folder = process, folder
        self.seen: list[dict[str, Any]] = []
        self.lines: Queue[str] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("")

    def until(self, event: str, task: str | None = None) -> dict[str, Any]:
        """The first record of the kind, those before it kept."""
        for record in self.seen:
            if (record["event"], record.get("task")) == (event, task):
                return record
        while line := self.lines.get(timeout=WAIT_S):
            self.seen.append(json.loads(line))
            if (self.seen[-1]["event"], self.seen[-1].get("task")) == (event, task):
                return self.seen[-1]
        pytest.fail(f"no {event} of {task}: {self.seen}")

    def workers(self, task: str, count: int) -> list[dict[str, str]]:
        """Where a task's workers run, as their own environment says: as many as there are to be."""
        until = time.monotonic() + WAIT_S
        while len(files := list(self.folder.glob(f"{task}-*.json"))) < count:
            assert time.monotonic() < until
            time.sleep(0.05)
        found = [json.loads(file.read_text()) for file in files]
        assert len(found) == count
        return sorted(found, key=lambda each: str(each["TPU_WORKER_ID"]))


@pytest.fixture
def drive(command: Command, tmp_path: Path) -> Iterator[Callable[..., Driven]]:
    started: list[subprocess.Popen[str]] = []

    def start(*tasks: str) -> Driven:
        folder = tmp_path / "code"
        folder.mkdir()
        (folder / "gate.py").write_text(GATE)
        script = Path(__file__).parent / "on_slices.py"
        process = subprocess.Popen(
            [sys.executable, str(script), str(folder), str(tmp_path / "runs"), *tasks],
            cwd=REPOSITORY, env=dict(command.environment), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return Driven(process, folder)

    yield start
    for process in started:
        with process:
            process.kill()


SPEC = """\
name: placed
tasks:
  task:
    kind: keras
    strategy: tpu
    model: {name: mlp}
    data: {name: digits}
    max_steps: 3
    global_batch_size: 64
    resources: RESOURCES
"""


def test_nodes_shows_of_which_slice_each_is_a_host(command: Command) -> None:
    shown = command("nodes").out
    assert "TPU-V5LITEPOD:8  slice small, v5litepod-8 (2x4), host 0" in shown
    assert "TPU-V4:4  slice slice-b, v4-16 (2x2x2), host 1" in shown
    nodes = {node["name"]: node for node in json.loads(command("nodes", "--json").out)["nodes"]}
    assert nodes["a-1"]["tpu_slice"] == {
        "name": "slice-a", "topology": "2x2x2", "pod_type": "v4-16", "worker_id": 1}  # fmt: skip


def test_a_task_on_one_host_is_planned_on_all_of_its_chips(
    command: Command, spec: Callable[[str], str]
) -> None:
    asked = "{accelerators: TPU-V5E:8, accelerator_args: {topology: 2x4}}"
    done = command("plan", spec(SPEC.replace("RESOURCES", asked)), "--json")
    assert done.code == 0, done.err
    placement = json.loads(done.out)["tasks"][0]["placement"]
    assert (placement["nodes"], placement["device"]) == (["five"], "tpu")
    assert placement["demand"] == {"CPU": 1.0, "TPU": 8.0}
    assert placement["reason"] == "TPU-V5E:8 (2x4) takes the slice small: all 8 chips of five"


@pytest.mark.parametrize(
    ("asked", "lacks"),
    [
        (
            "{accelerators: TPU-V4:4}",
            "asks for TPU-V4:4, a-0 has 0 (its TPU-V4:4 is a part of slice-a, which goes as a "
            "whole); the largest offers 0",
        ),
        (
            "{accelerators: TPU-V4:4, accelerator_args: {topology: 2x2x1}}",
            "asks for TPU-V4:4 (2x2x1), the slice slice-b is TPU-V4:8 (2x2x2)",
        ),
    ],
)
def test_part_of_a_slice_goes_to_nobody_and_how_to_declare_a_tpu_is_said(
    command: Command, spec: Callable[[str], str], asked: str, lacks: str
) -> None:
    done = command("submit", spec(SPEC.replace("RESOURCES", asked)))
    assert (done.code, done.out) == (3, "")
    assert lacks in done.err
    # Of the same generation, and whole: keras drives a slice of several hosts.
    nearest = "nearest: accelerators: TPU-V4:8, accelerator_args: {topology: 2x2x2}"
    assert nearest in done.err
    assert "TPU_WORKER_ID=0 TPU_TOPOLOGY=2x2x1 TPU_ACCELERATOR_TYPE=v4-8" in done.err
    assert """ray start --address=HEAD:6379 --resources='{"TPU": 4}'""" in done.err


@pytest.mark.slow
def test_a_slice_goes_to_one_task_as_a_whole_and_the_next_waits_for_it(
    drive: Callable[..., Driven],
) -> None:
    wide = "TPU-V4:8@2x2x2"
    run = drive(f"one={wide}", f"two={wide}", f"three={wide}", "eight=TPU-V5E:8@2x4")
    tasks = {"one", "two", "three"}
    for task in [*tasks, "eight"]:
        run.until("attempt_started", task)
    # Of three that ask for one of two slices, one is left to wait.
    waiting = {each["task"] for each in run.seen if each["event"] == "waiting"}
    while not waiting & tasks:
        run.seen.append(json.loads(run.lines.get(timeout=WAIT_S)))
        waiting = {each["task"] for each in run.seen if each["event"] == "waiting"}
    (last,) = waiting & tasks
    first, second = sorted(tasks - {last})
    for task in (first, second, "eight"):
        run.until("attempt_running", task)
    held = {task: run.workers(task, 2)[0]["TPU_NAME"] for task in (first, second)}
    assert sorted(held.values()) == ["slice-a", "slice-b"]
    assert not list(run.folder.glob(f"{last}-*"))
    (run.folder / f"{first}.open").touch()
    ended = run.until("task_ended", first)["data"]
    assert ended["status"] == "finished", ended
    run.until("attempt_running", last)
    assert run.workers(last, 2)[0]["TPU_NAME"] == held[first]
    for task in tasks:
        workers = run.workers(task, 2)
        assert [each["TPU_WORKER_ID"] for each in workers] == ["0", "1"]
        assert len({each["TPU_NAME"] for each in workers}) == 1
        assert {each["TPU_VISIBLE_CHIPS"] for each in workers} == {"0,1,2,3"}
    (eight,) = run.workers("eight", 1)
    assert (eight["TPU_NAME"], eight["TPU_VISIBLE_CHIPS"]) == ("small", "0,1,2,3,4,5,6,7")


@pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="needs TensorFlow: pip install 'runner[tf]'"
)
def test_a_slice_that_has_no_chips_fails_the_task_with_what_was_looked_for_on_its_hosts(
    command: Command, spec: Callable[[str], str]
) -> None:
    wide = "{accelerators: TPU-V4:8, accelerator_args: {topology: 2x2x2}}"
    done = command("submit", spec(SPEC.replace("RESOURCES", wide)), "--json")
    assert done.code == 1, done.err
    (task,) = json.loads(done.out)["tasks"].values()
    assert task["placement"]["bundles"] == [1, 1]
    error = task["error"]
    assert error["type"] == "TaskError"
    for part in ("no TPU: looked for /dev/accel*", "on each host", "servers at port 8470"):
        assert part in error["message"]
    assert error["message"].count("there are no chips, and no server at port 8470") == 2
