"""How long one waits. Run: python benchmarks/startup.py

Whole processes, timed from outside: the commands that only look at a spec; a distillation with
nothing running, from the command to the finished report; and, on a cluster that is up, the time
from the command to the end of the first optimizer step, beside a bare PyTorch script of the same
task sent by `ray job submit` to the same cluster, in turns. Medians; a run's spread beside them.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
JOB = str(ROOT / "jobs" / "distill.yaml")
SCRIPT = str(Path(__file__).parent / "bare_script.py")
RUNNER = [str(Path(sys.executable).parent / "runner")]
RAY = str(Path(sys.executable).parent / "ray")
LOOKS, COLD, FIRST = 10, 5, 5
# Between rounds: the resident driver has its workers back, and the job's processes are gone.
REST_S = 6.0


def timed(command: list[str], environment: Mapping[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=dict(environment))
    return time.perf_counter() - started


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} | {min(values):.2f} to {max(values):.2f}"


def first_step_by_runner(environment: Mapping[str, str], storage: Path) -> float:
    launched_s = time.time()
    command = [*RUNNER, "submit", JOB, "--storage", str(storage)]
    subprocess.run(command, check=True, capture_output=True, env=dict(environment))
    records = max(storage.glob("*/records.jsonl"), key=lambda path: path.stat().st_mtime)
    submitted_s = None
    for line in records.read_text().splitlines():
        record = json.loads(line)
        submitted_s = record.get("data", {}).get("submitted_at_s", submitted_s)
        for name, _, value in record.get("data", {}).get("points", []):
            if name == "time/first_step_s" and record["task"] == "teacher":
                # Counted from the process's own start of the command; the rest is the launch.
                first: float = submitted_s + value - launched_s
                return first
    raise RuntimeError(f"{records} tells of no first step")


def first_step_by_ray(environment: Mapping[str, str], dashboard: str, folder: Path) -> float:
    told = folder / "first_step"
    told.unlink(missing_ok=True)
    launched_s = time.time()
    command = [
        RAY,
        "job",
        "submit",
        "--address",
        dashboard,
        "--",
        sys.executable,
        SCRIPT,
        str(told),
    ]
    subprocess.run(command, check=True, capture_output=True, env=dict(environment))
    return float(told.read_text()) - launched_s


def machine() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return f"{names[0] if names else platform.machine()}, {len(names)} cores, Python " + (
        platform.python_version()
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "RUNNER_"))}
        environment = {**kept, "XDG_STATE_HOME": str(folder / "state")}
        print(f"{machine()}\n")
        print("| seconds | median | spread |\n|---|---:|---:|")
        looks = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "runner --help": [*RUNNER, "--help"],
            "runner validate jobs/distill.yaml": [*RUNNER, "validate", JOB],
        }
        for command in looks.values():
            timed(command, environment)
        times: dict[str, list[float]] = {name: [] for name in looks}
        for _ in range(LOOKS):
            for name, command in looks.items():
                times[name].append(timed(command, environment))
        for name, values in times.items():
            print(f"| `{name}` | {spread(values)} |")
        submit = [*RUNNER, "submit", JOB, "--storage", str(folder / "cold")]
        cold = [timed(submit, environment) for _ in range(COLD)]
        print(f"| `runner submit jobs/distill.yaml`, nothing running | {spread(cold)} |")
        subprocess.run([*RUNNER, "up"], check=True, capture_output=True, env=environment)
        try:
            state = json.loads((folder / "state" / "runner" / "cluster.json").read_text())
            dashboard = f"http://127.0.0.1:{state['dashboard_port']}"
            token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": state["token"]}
            ours, theirs = [], []
            for _ in range(FIRST):
                time.sleep(REST_S)
                ours.append(first_step_by_runner(environment, folder / "warm"))
                time.sleep(REST_S)
                theirs.append(first_step_by_ray({**environment, **token}, dashboard, folder))
        finally:
            subprocess.run([*RUNNER, "down"], check=True, capture_output=True, env=environment)
        print(f"| to the first step, `runner submit` on a cluster that is up | {spread(ours)} |")
        print(f"| to the first step, `ray job submit` of a bare script | {spread(theirs)} |")
        ratio = statistics.median(ours) / statistics.median(theirs)
        print(f"\nrunner's first step comes after {ratio:.2f} of the time of ray job submit's.")


if __name__ == "__main__":
    main()
