"""The digits run as fixtures: its plan, its records, and the records of one that failed."""

from __future__ import annotations

from typing import Any

import pytest
from digits_run import (
    NODE,
    START_S,
    STUDENT,
    TEACHER,
    WORKER,
    artifact,
    learning,
    planned_task,
    record,
    summary,
)

from runner.model import Record


@pytest.fixture
def plan_document() -> dict[str, Any]:
    spec = {
        "name": "distill-digits",
        "resources": {"cpus": 1},
        "tasks": {
            "teacher": {
                "kind": "train",
                "model": {"name": "mlp", "args": {"hidden": [512, 512]}},
                "data": {"name": "digits"},
                "max_epochs": 15,
                "global_batch_size": 128,
                "optimizer": {"name": "adamw", "learning_rate": 2.0e-3},
            },
            "student": {
                "kind": "distill",
                "teacher": "${tasks.teacher.outputs.model}",
                "model": {"name": "mlp", "args": {"hidden": [32]}},
                "data": {"name": "digits"},
                "temperature": 3.0,
                "alpha": 0.7,
                "max_epochs": 30,
            },
        },
    }
    return {
        "job": {
            "name": "distill-digits",
            "tasks": [],
            "spec": spec,
            "file": "jobs/distill.yaml",
            "overrides": ["tasks.student.alpha=0.7"],
            "workdir": None,
        },
        "cluster": "embedded cluster on this machine",
        "tasks": [
            planned_task("teacher", "train", []),
            planned_task("student", "distill", ["teacher"]),
        ],
    }


@pytest.fixture
def records() -> list[Record]:
    """The teacher finishes; the student is lost once at step 60, then finishes."""
    placement = {"device": "cpu", "nodes": [NODE], "reason": "2 CPUs free"}
    progress = {"total_steps": 360, "epoch": 5.0, "samples_per_s": 182001.0, "phase": "train"}
    return [
        record(
            0,
            "run_started",
            run="distill-digits-20261122-154501-3f2a",
            job="distill-digits",
            driver={"host": "laptop", "pid": 4242, "started": START_S - 1},
            cluster={"source": "embedded cluster on this machine", "nodes": [NODE]},
            environment={
                "runner": "0.1.0",
                "python": "3.11.7",
                "ray": "2.60.0",
                "cpu": {"model": "AMD EPYC 7B13", "cores": 2},
            },
        ),
        record(0.1, "attempt_started", "teacher", 1, placement=placement),
        record(2.0, "attempt_running", "teacher", 1, node=NODE, pid=11, environment=WORKER),
        record(2.4, "metrics", "teacher", 1, points=learning(180, 0.01, 40)),
        record(4.9, "metrics", "teacher", 1, points=summary(TEACHER)),
        artifact(5.0, "teacher", 1, 1_205_112),
        record(5.1, "attempt_ended", "teacher", 1, status="finished", error=None),
        record(5.1, "task_ended", "teacher", status="finished", error=None),
        record(5.2, "attempt_started", "student", 1, placement=placement),
        record(5.9, "attempt_running", "student", 1, node=NODE, pid=12, environment=WORKER),
        record(6.3, "metrics", "student", 1, points=learning(60, 0.5, 90)),
        record(
            7.0,
            "attempt_ended",
            "student",
            1,
            status="lost",
            error={"type": "", "message": "the worker was killed (SIGKILL)", "frames": []},
        ),
        record(7.1, "attempt_started", "student", 2, placement=placement),
        record(7.2, "waiting", "student", 2, reason="0 of 1 CPU free on node-1"),
        record(8.3, "attempt_running", "student", 2, node=NODE, pid=13, environment=WORKER),
        record(8.7, "progress", "student", 2, step=60, loss=0.91, **progress),
        record(9.2, "metrics", "student", 2, points=learning(360, 0.06, 90)),
        record(9.3, "progress", "student", 2, step=360, loss=0.06, **progress),
        record(11.8, "metrics", "student", 2, points=summary(STUDENT)),
        artifact(11.9, "student", 2, 12_345),
        record(12.0, "attempt_ended", "student", 2, status="finished", error=None),
        record(12.0, "task_ended", "student", status="finished", error=None),
        record(12.1, "heartbeat"),
        record(12.3, "run_ended", status="finished"),
    ]


@pytest.fixture
def failed_records(records: list[Record]) -> list[Record]:
    """The teacher's own code raises; the student is skipped."""
    error = {
        "type": "ValueError",
        "message": "expected 64 inputs, got 63\nin batch 4",
        "hint": "",
        "frames": ["my/model.py:12 in forward: return self.head(x)"],
        "user_frames": 1,
        "log": "teacher/1/log.txt",
    }
    return [
        *records[:4],
        record(2.8, "attempt_ended", "teacher", 1, status="failed", error=error),
        record(2.8, "task_ended", "teacher", status="failed", error=error),
        record(2.9, "task_ended", "student", status="skipped", error=None),
        record(3.0, "run_ended", status="failed"),
    ]
