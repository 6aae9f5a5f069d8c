"""The Python interface, in an interpreter of its own as a notebook's would be."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.errors import RunNotFoundError, UsageError
from runner.runs.folder import RunFolder
from runner.runs.interface import Run, submit
from tests.conftest import Command
from tests.runs.plans import finished_run, record, run_folder

Write = Callable[..., str]

SHORT = """\
name: short
tasks:
  first:
    kind: train
    model: {name: mlp, args: {hidden: [16]}}
    data: {name: digits}
    max_steps: 20
"""
LONG = SHORT.replace("20", "10000000").replace("short", "long")


def python(beside: Command, script: str, **more: str) -> Any:
    """What ``script`` leaves in ``result``, run by a fresh interpreter beside the command."""
    whole = f"import json, runner, sys\nresult = None\n{script}\nprint(json.dumps(result))\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", whole],
        cwd=beside.folder,
        env={**beside.environment, **more},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


WHOLE = """
from pathlib import Path
run = runner.submit("job.yaml", overrides=["tasks.first.max_steps=30"])
statuses = [run.wait(), run.wait()]
result = {
    "statuses": [*statuses, run.status],
    "metrics": dict(run.metrics["first"]),
    "report": dict(run.report),
    "kept": json.loads((run.folder / "report.json").read_text()),
    "name": run.name,
    "shown": repr(run),
    "heavy": sorted({"ray", "torch", "tensorflow", "matplotlib"} & set(sys.modules)),
}
"""


@pytest.mark.parametrize("beside", ["warm", "command"])
def test_a_run_is_submitted_waited_for_and_read(
    request: pytest.FixtureRequest, spec: Write, beside: str
) -> None:
    command: Command = request.getfixturevalue(beside)
    spec(SHORT)
    told = python(command, WHOLE)
    assert told["statuses"] == ["finished"] * 3
    assert told["metrics"]["test/accuracy"] > 0.3
    assert told["metrics"]["size/parameters"] == 64 * 16 + 16 + 16 * 10 + 10
    assert told["report"] == told["kept"]
    assert told["report"]["run"] == told["name"]
    assert told["report"]["command"].endswith("--set tasks.first.max_steps=30")
    assert told["report"]["tasks"]["first"]["batches"]["total_steps"] == 30
    assert told["shown"] == f"<Run {told['name']} finished>"
    assert (command.folder / "runs" / told["name"]).is_dir()
    # What drives the run is another process: the caller's stays as light as it was.
    assert told["heavy"] == []


CANCELLED = """
run = runner.submit("job.yaml", storage="kept")
try:
    run.wait(timeout_s=0.5)
except TimeoutError as error:
    result = [str(error), run.status]
run.cancel()
result += [run.wait(timeout_s=60), sorted(set(t["status"] for t in run.report["tasks"].values()))]
"""


def test_a_wait_has_an_end_and_a_run_can_be_cancelled(warm: Command, spec: Write) -> None:
    spec(LONG)
    told = python(warm, CANCELLED)
    assert "has not ended after 0.5 s" in told[0]
    assert told[1:] == ["running", "cancelled", ["cancelled"]]
    assert list((warm.folder / "kept").glob("long-*/report.html"))


REFUSED = """
from runner.errors import ClusterError, PlanError, SpecError, UsageError
result = []
for call in (
    lambda: runner.submit("wrong.yaml"),
    lambda: runner.submit("job.yaml", overrides=["tasks.first.resources.cpus=512"]),
    lambda: runner.submit("job.yaml", address="127.0.0.1:1"),
    lambda: runner.submit("job.yaml", storage="job.yaml/below"),
    lambda: runner.submit("nowhere.yaml"),
):
    try:
        call()
    except (ClusterError, PlanError, SpecError, UsageError) as error:
        more = [list(m.lacks) for m in getattr(error, "misfits", ())]
        result.append([type(error).__name__, str(error), error.hint, more])
"""


def test_what_is_wrong_is_raised_in_the_caller(warm: Command, spec: Write) -> None:
    spec(SHORT)
    spec(SHORT.replace("max_steps: 20", "max_steps: many"), "wrong.yaml")
    told = python(warm, REFUSED)
    assert [each[0] for each in told[:4]] == [
        "SpecError",
        "PlanError",
        "ClusterError",
        "UsageError",
    ]
    assert told[0][1].startswith("wrong.yaml:7:")
    assert "cpus:512" in told[1][1]
    assert len(told[1][3]) == 1  # the one misfit
    assert told[1][3][0]  # and what each node lacks
    assert "127.0.0.1:1" in told[2][1]
    assert told[2][2]
    assert "--storage" in told[3][2]
    assert told[4][0] in ("SpecError", "UsageError")
    assert "nowhere.yaml" in told[4][1]
    assert not (warm.folder / "runs").exists()


def test_a_task_that_fails_is_told_by_the_status_not_raised(warm: Command, spec: Write) -> None:
    (warm.folder / "mine.py").write_text("def make():\n    raise ValueError('no')\n")
    spec(SHORT.replace("{name: mlp, args: {hidden: [16]}}", '{factory: "mine:make"}'))
    told = python(
        warm,
        "run = runner.submit('job.yaml')\n"
        "result = [run.wait(), run.report['tasks']['first']['error']['message'], run.metrics]",
    )
    assert told == ["failed", "no", {"first": {}}]


def test_a_run_whose_driver_is_killed_is_lost(command: Command, spec: Write) -> None:
    spec(LONG)
    told = python(
        command,
        "import os, signal, time\n"
        "run = runner.submit('job.yaml')\n"
        "while not list(run.folder.glob('first/1')): time.sleep(0.05)\n"
        "os.kill(run._process.pid, signal.SIGKILL)\n"
        "result = [run.wait(timeout_s=30), str(run.folder)]",
    )
    assert told[0] == "lost"
    assert RunFolder(Path(told[1])).records()


INTERRUPTED = """
import os, signal, threading, time
os.setsid()  # the terminal's Ctrl-C goes to all of this session's group, and to nobody else's
run = runner.submit("job.yaml")

def interrupt():
    while not list(run.folder.glob("first/1/log.txt")): time.sleep(0.05)
    os.killpg(0, signal.SIGINT)

try:
    threading.Thread(target=interrupt).start()  # it may be over before this returns
    run.wait()
except KeyboardInterrupt:
    try:
        run.wait(timeout_s=2)
    except TimeoutError:
        result = ["goes on", run.status]
again = runner.find("long-")
assert again.name == run.name == runner.find().name
again.cancel()
result += [again.wait(timeout_s=60), run.wait(timeout_s=60)]
"""


def test_an_interrupt_ends_the_waiting_and_not_the_run(warm: Command, spec: Write) -> None:
    spec(LONG)
    assert python(warm, INTERRUPTED) == ["goes on", "running", "cancelled", "cancelled"]


def test_a_run_goes_on_when_who_submitted_it_has_ended(warm: Command, spec: Write) -> None:
    spec(SHORT)
    # This waits for the driver too, whose standard error is the interpreter's.
    whole = "import runner\nprint(runner.submit('job.yaml').name)"
    done = subprocess.run(
        [sys.executable, "-c", whole],
        cwd=warm.folder,
        env=dict(warm.environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stderr == ""
    run = Run(RunFolder(warm.folder / "runs" / done.stdout.strip()))
    assert run.wait(timeout_s=60) == "finished"


def test_overrides_that_are_one_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a list") as refused:
        submit(tmp_path / "job.yaml", overrides="a=1")
    assert refused.value.hint == "overrides=['a=1']"


def test_a_run_is_found_as_the_commands_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import runner

    finished_run(tmp_path, "first-1", "a")
    finished_run(tmp_path, "first-2", "a")
    assert runner.find("first-1", storage=tmp_path).status == "finished"
    with pytest.raises(RunNotFoundError, match="2 runs begin with 'first'"):
        runner.find("first", storage=tmp_path)
    monkeypatch.setenv("RUNNER_STORAGE", str(tmp_path))
    assert runner.find("first-2").metrics["a"]["test/accuracy"] == 0.9


def test_a_run_found_in_storage_is_read_the_same_way(tmp_path: Path) -> None:
    run = Run(finished_run(tmp_path, "done", "a"))
    assert (run.name, run.folder, run.status) == ("done", tmp_path / "done", "finished")
    assert run.wait(timeout_s=1) == "finished"
    assert run.metrics == {"a": {"train/loss": 0.25, "test/accuracy": 0.9}}


def test_waiting_for_a_run_of_a_dead_driver_ends(tmp_path: Path) -> None:
    import socket

    folder = run_folder(tmp_path, "gone")
    driver = {"host": socket.gethostname(), "pid": 2**22 + 1, "started": 1.0}
    folder.append(record("run_started", run="gone", job="j", driver=driver))
    assert Run(folder).wait(timeout_s=1) == "lost"


def test_a_name_that_the_package_has_not_is_an_attribute_error() -> None:
    import runner

    with pytest.raises(AttributeError, match="no attribute 'sumbit'"):
        _ = runner.sumbit  # type: ignore[attr-defined]


def test_storage_that_nothing_reaches_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(SHORT)
    with pytest.raises(UsageError, match="Protocol not known"):
        submit(tmp_path / "job.yaml", storage="s4://bucket/runs")
