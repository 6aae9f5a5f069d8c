"""Specs of runs on a real cluster, and what to ask of such a run: its report, its worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import Command

Write = Callable[..., str]

_FIRST = """\
name: chain
tasks:
  first:
    kind: train
    model: {name: mlp, args: {hidden: [16]}}
    data: {name: digits}
    max_steps: 5
"""

CHAIN = f"""\
{_FIRST}
  second:
    kind: evaluate
    model: ${{tasks.first.outputs.model}}
    data: {{name: digits}}
"""

# Two ranks that train one model for as many STEPS as are put there.
TWO = """\
name: two
tasks:
  model:
    kind: train
    model: {name: mlp, args: {hidden: [32], dropout: 0.1}}
    data: {name: digits}
    max_steps: STEPS
    global_batch_size: 64
    lr_scheduler: {name: cosine, warmup_steps: 10}
    checkpoint: {every_steps: 20}
    resources: {cpus: 0.5, num_workers: 2}
"""

# The second is long enough to be ended in its midst, and can go on from there.
RESUMABLE = f"""\
{_FIRST}
  second:
    kind: train
    model: {{name: mlp, args: {{hidden: [16]}}}}
    data: {{name: digits}}
    max_steps: 6000
    checkpoint: {{every_steps: 100}}
    depends_on: [first]
    retry: {{max_restarts: 0}}
"""

# It trains until it is stopped: far more steps than a test has time for.
LONG = """\
name: long
tasks:
  long:
    kind: train
    model: {name: mlp, args: {hidden: [16]}}
    data: {name: digits}
    max_steps: 10000000
  after:
    kind: evaluate
    model: ${tasks.long.outputs.model}
    data: {name: digits}
"""


def report(command: Command) -> dict[str, Any]:
    (file,) = (command.folder / "runs").glob("*/report.json")
    data: dict[str, Any] = json.loads(file.read_text())
    return data


def running_pid(command: Command, attempt: int = 1) -> int | None:
    for record in command.records():
        if record["event"] == "attempt_running" and record["attempt"] == attempt:
            pid: int = record["data"]["pid"]
            return pid
    return None


def is_gone(pid: int) -> bool:
    """Whether the process has ended, though nobody may have waited for it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"
