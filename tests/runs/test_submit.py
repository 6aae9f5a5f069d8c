"""Runs on a real cluster: tasks that finish, fail, are lost, time out or are cancelled."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Command, wait_for
from tests.runs.real_runs import CHAIN, LONG, Write, is_gone, report, running_pid


def test_a_chain_runs_in_order_and_leaves_everything(warm: Command, spec: Write) -> None:
    done = warm("submit", spec(CHAIN), "--json")
    assert done.code == 0, done.err
    printed = json.loads(done.out)
    assert printed == report(warm)
    assert printed["status"] == "finished"
    assert {name: task["status"] for name, task in printed["tasks"].items()} == {
        "first": "finished",
        "second": "finished",
    }
    first, second = printed["tasks"]["first"], printed["tasks"]["second"]
    assert first["ended"] <= second["started"]
    # What was kept is what was measured, in another process, to the last bit.
    for name in ("test/accuracy", "test/loss", "size/parameters", "size/model_mb"):
        assert first["metrics"][name] == second["metrics"][name]
    kept = first["artifacts"]["model"]
    files = sorted(path.name for path in Path(kept["path"]).iterdir())
    assert files == ["model.json", "model.safetensors"]
    assert kept["bytes"] == sum(p.stat().st_size for p in Path(kept["path"]).iterdir())
    folder = Path(kept["path"]).parent.parent.parent
    for name in ("plan.json", "records.jsonl", "report.json", "report.md", "report.html"):
        assert (folder / name).stat().st_size > 0


def test_two_tasks_run_at_once_where_they_fit(warm: Command, spec: Write) -> None:
    one = "kind: train, model: {name: mlp}, data: {name: digits}, max_steps: 2000"
    done = warm("submit", spec(f"name: two\ntasks:\n  a: {{{one}}}\n  b: {{{one}}}\n"))
    assert done.code == 0, done.err
    at = {(r["event"], r.get("task")): r["at_s"] for r in warm.records()}
    assert at["attempt_running", "b"] < at["task_ended", "a"]
    assert at["attempt_running", "a"] < at["task_ended", "b"]


def test_same_spec_and_seed_give_the_same_metrics_to_the_last_bit(
    warm: Command, spec: Write
) -> None:
    file = spec(CHAIN)
    first, second = (json.loads(warm("submit", file, "--json").out) for _ in range(2))
    other = json.loads(warm("submit", file, "--json", "--set", "tasks.first.seed=1").out)

    def kept(data: dict[str, Any]) -> Any:
        timed = ("_ms", "_s", "peak_mb")
        return [
            (
                {k: v for k, v in task["metrics"].items() if not k.endswith(timed)},
                task["series"],
                {name: each["sha256"] for name, each in task["artifacts"].items()},
            )
            for task in data["tasks"].values()
        ]

    assert kept(first) == kept(second)
    assert kept(first) != kept(other)


def test_a_task_whose_code_raises_is_failed_with_the_users_frames_first(
    warm: Command, spec: Write
) -> None:
    (warm.folder / "mine.py").write_text(
        "def inner(width):\n    return 1 / (width - width)\n\n\ndef make(width):\n"
        "    print('about to divide')\n    return inner(width)\n"
    )
    file = spec(CHAIN.replace("{name: mlp, args: {hidden: [16]}}",
                              '{factory: "mine:make", args: {width: 3}}'))  # fmt: skip
    done = warm("submit", file)
    assert done.code == 1
    assert "Traceback" not in done.out + done.err
    lines = done.out.splitlines()
    at = next(n for n, line in enumerate(lines) if "ZeroDivisionError" in line)
    frames = [line.strip() for line in lines[at + 1 :] if " in " in line]
    assert frames[0].startswith("mine.py:2 in inner")
    assert frames[1].startswith("mine.py:7 in make")
    tasks = report(warm)["tasks"]
    assert tasks["first"]["status"] == "failed"
    assert tasks["first"]["attempts"] == 1
    assert tasks["second"]["status"] == "skipped"
    assert "first" in tasks["second"]["error"]["message"]
    logged = warm("logs", "latest", "first").out
    assert "about to divide" in logged
    assert "Traceback" in logged
    assert "ZeroDivisionError" in logged


def test_a_killed_worker_is_lost_and_its_task_tried_again(warm: Command, spec: Write) -> None:
    file = spec(LONG.replace("10000000", "15000"))
    with warm.start("submit", file) as process:
        pid = wait_for(lambda: running_pid(warm))
        os.kill(pid, signal.SIGKILL)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "(raylet)" not in out + err  # what Ray says of it is none of our output
    task = report(warm)["tasks"]["long"]
    assert (task["status"], task["attempts"]) == ("finished", 2)
    assert [each["status"] for each in task["history"]] == ["lost", "finished"]
    assert "killed" in task["history"][0]["error"]["message"]


def test_a_task_that_is_lost_too_often_is_lost(warm: Command, spec: Write) -> None:
    file = spec(LONG.replace("kind: train", "kind: train\n    retry: {max_restarts: 0}"))
    with warm.start("submit", file) as process:
        os.kill(wait_for(lambda: running_pid(warm)), signal.SIGKILL)
        process.communicate(timeout=60)
    assert process.returncode == 1
    tasks = report(warm)["tasks"]
    assert tasks["long"]["status"] == "lost"
    assert tasks["after"]["status"] == "skipped"


def test_an_attempt_over_time_is_ended(warm: Command, spec: Write) -> None:
    done = warm("submit", spec(LONG.replace("kind: train", "kind: train\n    timeout: 1s")))
    assert done.code == 1
    tasks = report(warm)["tasks"]
    assert tasks["long"]["status"] == "timed_out"
    assert "1 s" in tasks["long"]["error"]["message"]
    pid = running_pid(warm)
    assert pid is not None
    wait_for(lambda: is_gone(pid), timeout_s=10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_cancels_cleanly(warm: Command, spec: Write, number: int) -> None:
    with warm.start("submit", spec(LONG)) as process:
        pid = wait_for(lambda: running_pid(warm))
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    data = report(warm)
    assert data["status"] == "cancelled"
    assert {task["status"] for task in data["tasks"].values()} == {"cancelled"}
    wait_for(lambda: is_gone(pid), timeout_s=10)


def test_a_run_is_cancelled_from_elsewhere(warm: Command, spec: Write) -> None:
    with warm.start("submit", spec(LONG)) as process:
        pid = wait_for(lambda: running_pid(warm))
        shown = warm("status", "latest").out
        assert "running" in shown
        done = warm("cancel", "long-")
        assert (done.code, "cancelled" in done.out) == (0, True)
        process.communicate(timeout=30)
    assert process.returncode == 130
    wait_for(lambda: is_gone(pid), timeout_s=10)
    again = warm("cancel", "latest")
    assert again.code == 2
    assert "it is cancelled" in again.err


def test_a_killed_driver_leaves_a_lost_run_and_no_worker(command: Command, spec: Write) -> None:
    with command.start("submit", spec(LONG)) as process:
        pid = wait_for(lambda: running_pid(command))
        mark = next(
            entry
            for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if entry.startswith(b"RUNNER_EMBEDDED=")
        )
        process.kill()
        process.communicate()

    def left() -> list[str]:
        found = []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in entry.read_bytes().split(b"\0"):
                    found.append(entry.parent.name)
            except OSError:
                continue
        return found

    wait_for(lambda: not left(), timeout_s=10)
    wait_for(lambda: is_gone(pid), timeout_s=10)
    (row,) = json.loads(command("list", "--json").out)
    assert row["status"] == "lost"
    assert "lost" in command("status", "latest").out
    assert command("report", "latest").code == 0
    assert command("cancel", "latest").code == 2


def test_interrupted_twice_it_ends_at_once(command: Command, spec: Write) -> None:
    with command.start("submit", spec(LONG)) as process:
        pid = wait_for(lambda: running_pid(command))
        os.kill(process.pid, signal.SIGSTOP)  # so that both arrive before it can act on one
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGTERM)
        os.kill(process.pid, signal.SIGCONT)
        process.communicate(timeout=5)
    assert process.returncode == 130
    wait_for(lambda: is_gone(pid), timeout_s=10)
    (row,) = json.loads(command("list", "--json").out)
    assert row["status"] == "cancelled"


def test_env_and_secrets_reach_the_worker_and_secrets_nothing_else(
    warm: Command, spec: Write
) -> None:
    (warm.folder / "mine.py").write_text(
        "import os\n\nfrom torch import nn\n\n\ndef make(input_shape, num_classes):\n"
        "    assert os.environ['PLAIN'] == 'seen'\n"
        "    assert os.environ['API_KEY'] == 'hush-' + '5309'\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))\n"
    )
    text = CHAIN.replace("{name: mlp, args: {hidden: [16]}}", '{factory: "mine:make"}')
    text = text.replace(
        "kind: train", "kind: train\n    env: {PLAIN: seen}\n    secrets: [API_KEY]"
    )
    missing = warm("submit", spec(text))
    assert missing.code == 2
    assert "API_KEY" in missing.err
    assert not (warm.folder / "runs").exists()
    warm.environment = {**warm.environment, "API_KEY": "hush-5309"}
    done = warm("submit", spec(text))
    # The evaluation loads the same factory, without the secret: it fails, and says why.
    assert report(warm)["tasks"]["first"]["status"] == "finished", done.out
    everything = [p for p in (warm.folder / "runs").rglob("*") if p.is_file()]
    assert everything
    assert not [p for p in everything if b"hush-5309" in p.read_bytes()]


def test_a_place_in_use_is_waited_for(warm: Command, spec: Write) -> None:
    with warm.start(
        "submit", spec(LONG.replace("kind: train", "kind: train\n    resources: {cpus: 2}"))
    ) as holder:
        wait_for(lambda: running_pid(warm))
        second = Command(warm.environment, warm.folder / "second")
        second.folder.mkdir()
        with second.start("submit", str(warm.folder / spec(CHAIN, "chain.yaml"))) as waiting:
            told = wait_for(lambda: [r for r in second.records() if r["event"] == "waiting"])
            assert "in use" in told[0]["data"]["reason"]
            assert warm("cancel", "latest").code == 0
            holder.communicate(timeout=30)
            _, err = waiting.communicate(timeout=60)
        assert waiting.returncode == 0, err
    assert "waits" in err
