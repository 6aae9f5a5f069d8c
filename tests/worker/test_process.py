"""python -m runner.worker: an attempt as a process, with no Ray in it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.model import Order
from runner.worker.wire import order_from_json, order_to_json, record_from_json
from tests.worker.orders import DIGITS, MLP, order

# Fails the process at its end if Ray was imported.
GUARD = """\
import atexit, os, sys
def look():
    if "ray" in sys.modules:
        os._exit(99)
atexit.register(look)
"""


def work(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "guard").mkdir(exist_ok=True)
    (folder / "guard" / "sitecustomize.py").write_text(GUARD)
    return subprocess.run(
        [sys.executable, "-m", "runner.worker", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "guard")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def write(folder: Path, what: Order) -> str:
    (folder / "order.json").write_text(order_to_json(what))
    return "order.json"


def test_an_order_comes_back_as_it_was_written(tmp_path: Path) -> None:
    one = order(tmp_path, "train", {"model": MLP, "betas": [0.9, 0.99]}, workdir="w", rank=1)
    assert order_from_json(order_to_json(one)) == one
    assert "\n" not in order_to_json(one)


def test_records_go_to_standard_output_and_all_else_to_standard_error(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import os\nimport torch\n\n\ndef make(input_shape, num_classes):\n"
        "    print('from Python')\n    os.system('echo from a child')\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, num_classes))\n"
    )
    params = {"model": {"factory": "mine:make"}, "data": DIGITS, "max_steps": 3}
    file = write(tmp_path, order(tmp_path / "1", "train", params, workdir=str(tmp_path)))
    done = work(tmp_path, file)
    assert done.returncode == 0, done.stderr
    records = [record_from_json(line) for line in done.stdout.splitlines()]
    assert records[0].event == "attempt_running"
    assert records[-1].data["status"] == "finished"
    assert "from Python" in done.stderr
    assert "from a child" in done.stderr


def test_a_task_that_fails_ends_with_1_and_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def make():\n    raise OSError('no such luck')\n")
    params = {"model": {"factory": "mine:make"}, "data": DIGITS, "max_steps": 3}
    # The folder as a person would write it: relative to where they are.
    file = write(tmp_path, order(tmp_path / "1", "train", params, workdir="."))
    done = work(tmp_path, file)
    assert done.returncode == 1
    assert "OSError: no such luck" in done.stderr
    last = record_from_json(done.stdout.splitlines()[-1])
    assert last.data["status"] == "failed"
    assert last.data["error"]["frames"][0] == "mine.py:2 in make: raise OSError('no such luck')"


@pytest.mark.parametrize(
    "text",
    ["", "not json", "[]", "5", "{}", '{"run": "r"}', '{"mood": "good"}', "\x00"],
)
def test_what_is_no_order_ends_with_2(tmp_path: Path, text: str) -> None:
    from runner.worker.__main__ import main

    (tmp_path / "order.json").write_text(text)
    assert main([str(tmp_path / "order.json")]) == 2


def test_what_is_not_there_ends_with_2_and_a_word_for_it(tmp_path: Path) -> None:
    missing = work(tmp_path, "nowhere.json")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "nowhere.json is not an order" in missing.stderr
    assert "Traceback" not in missing.stderr
    none = work(tmp_path)
    assert (none.returncode, "usage" in none.stderr) == (2, True)


@pytest.mark.parametrize(
    "wrong", [{"attempt": "1"}, {"folder": 5}, {"params": []}, {"threads": None}]
)
def test_an_order_with_a_wrong_type_is_no_order(tmp_path: Path, wrong: dict[str, Any]) -> None:
    from runner.worker.__main__ import main

    data = json.loads(order_to_json(order(tmp_path, "evaluate", {}))) | wrong
    (tmp_path / "order.json").write_text(json.dumps(data))
    assert main([str(tmp_path / "order.json")]) == 2


def test_an_interrupt_ends_with_130_and_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import threading\n\n\ndef make():\n    print('waiting', flush=True)\n"
        "    threading.Event().wait()\n"
    )
    params = {"model": {"factory": "mine:make"}, "data": DIGITS, "max_steps": 3}
    file = write(tmp_path, order(tmp_path / "1", "train", params, workdir="."))
    with subprocess.Popen(
        [sys.executable, "-m", "runner.worker", file],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while "waiting" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(r'mine\.py", line [56], in make', err)  # it may still be in print
    assert [record_from_json(line).event for line in out.splitlines()] == ["attempt_running"]
