"""A cluster of runner's own that stays up, and jobs sent to it by the command."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.serving import plain_environment

RUNNER = str(Path(sys.executable).parent / "runner")
# Between jobs: the resident driver has its workers back.
REST_S = 6.0


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A job that finished. Seconds from the launch of the command; memory of rank 0's process."""

    first_step_s: float
    peak_mb: float


@dataclass(frozen=True)
class Cluster:
    """What ``runner up`` keeps, with a state and a storage of its own."""

    folder: Path
    environment: Mapping[str, str]

    def submit(self, task: Mapping[str, Any]) -> Finished:
        """Runs a job of this one task after a rest. Raises RuntimeError if it does not finish."""
        time.sleep(REST_S)
        spec = self.folder / "job.yaml"
        # JSON is YAML.
        spec.write_text(json.dumps({"name": "job", "tasks": {"model": task}}))
        storage = Path(tempfile.mkdtemp(dir=self.folder))
        command = [RUNNER, "submit", str(spec), "--storage", str(storage)]
        launched_s = time.time()
        done = subprocess.run(command, capture_output=True, text=True, env=dict(self.environment))
        if done.returncode:
            raise RuntimeError(f"runner submit: {done.stdout[-3000:]}{done.stderr[-3000:]}")
        submitted_s = None
        found: dict[str, float] = {}
        (records,) = storage.glob("*/records.jsonl")
        for line in records.read_text().splitlines():
            told = json.loads(line).get("data", {})
            submitted_s = told.get("submitted_at_s", submitted_s)
            for name, _, value in told.get("points", []):
                found.setdefault(name, value)
        # The metric counts from the process's own start of the command; the rest is the launch.
        assert submitted_s is not None
        return Finished(
            first_step_s=submitted_s + found["time/first_step_s"] - launched_s,
            peak_mb=found["memory/peak_mb"],
        )


@contextmanager
def up() -> Iterator[Cluster]:
    """A cluster for as long as the ``with`` lasts."""
    with tempfile.TemporaryDirectory(prefix="b-") as temporary:
        folder = Path(temporary)
        environment = {**plain_environment(), "XDG_STATE_HOME": str(folder / "state")}
        subprocess.run([RUNNER, "up"], check=True, capture_output=True, env=environment)
        try:
            yield Cluster(folder, environment)
        finally:
            subprocess.run([RUNNER, "down"], check=True, capture_output=True, env=environment)
